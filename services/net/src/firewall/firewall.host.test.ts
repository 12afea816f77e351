import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { ProcessRunner } from "../host/process.ts";
import { type KeptSocket, keepSocket } from "../netlink/kept-socket.ts";
import { loadLibc } from "../netlink/libc.ts";
import type { ElementChange } from "../netlink/nftables.ts";
import { protocols } from "../netlink/socket.ts";
import { cannotRun, usual } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import type { ElementStore } from "./element-store.ts";
import { type Firewall, openFirewall } from "./firewall.ts";
import { netlinkElementStore } from "./netlink-element-store.ts";

describe("the firewall on a kernel that may refuse", { skip: cannotRun }, () => {
  let scratch: Scratch;
  let socket: KeptSocket;
  let elements: ElementStore;
  let firewall: Firewall;
  let transactions: (readonly ElementChange[])[];
  let refuses: boolean;

  beforeEach(async () => {
    scratch = await makeScratch();
    socket = keepSocket(loadLibc(), protocols.netfilter, scratch.path);
    elements = netlinkElementStore(socket);
    transactions = [];
    refuses = false;
    const runner: ProcessRunner = {
      ...scratch.runner,
      async run(argv, options) {
        if (refuses) throw new Error("told to fail");
        return await scratch.runner.run(argv, options);
      },
    };
    firewall = await openFirewall({
      runner,
      elements: {
        ...elements,
        async change(changes) {
          if (refuses) throw new Error("told to fail");
          transactions.push(changes);
          await elements.change(changes);
        },
      },
      options: { resolverAddresses: [], connectionLimit: 1024, slotCount: 4 },
      scratchPath: `${scratch.path}-canonical`,
      admitted: [],
    });
  });
  afterEach(async () => {
    socket[Symbol.dispose]();
    await scratch[Symbol.asyncDispose]();
  });

  const links = async (set: string): Promise<string[]> =>
    (await elements.list(set)).map(({ key }) => String(key[0]?.value)).sort();

  test("a cut that failed is whole when it is repeated", async () => {
    await firewall.admit({ slot: 1, ...usual });
    refuses = true;
    await assert.rejects(firewall.cut(1));
    assert.equal(firewall.isAdmitted(1), false);
    assert.deepEqual(await links("guests"), ["lob-1"]);
    refuses = false;
    await firewall.cut(1);
    for (const set of ["guests", "reachable", "internet"]) assert.deepEqual(await links(set), [], set);
    await firewall.admit({ slot: 2, ...usual });
    assert.deepEqual(await links("guests"), ["lob-2"]);
  });

  test("knows its own changes from others'", async () => {
    await firewall.admit({ slot: 1, ...usual });
    assert.equal(firewall.wasChangedElsewhere(), false);
    await elements.change([{ kind: "add", element: { set: "internet", key: [{ type: "ifname", value: "lob-3" }] } }]);
    assert.equal(firewall.wasChangedElsewhere(), true);
    await firewall.admit({ slot: 1, ...usual });
    assert.equal(firewall.wasChangedElsewhere(), true, "nor does one that changes nothing");
    await firewall.admit({ slot: 2, ...usual });
    assert.equal(firewall.wasChangedElsewhere(), true, "a change of its own does not hide another's");
    assert.equal((await firewall.reconcile()).drifts.length, 1);
    await firewall.reconcile();
    assert.equal(firewall.wasChangedElsewhere(), false);
  });

  test("changes that come together go together, but never two of one slot", async () => {
    await Promise.all([
      firewall.admit({ slot: 1, ...usual }),
      firewall.admit({ slot: 2, ...usual }),
      firewall.cut(1),
      firewall.admit({ slot: 1, ...usual, egress: { mode: "none" } }),
    ]);
    assert.equal(transactions.length, 3);
    assert.deepEqual([await links("guests"), await links("internet")], [["lob-1", "lob-2"], ["lob-2"]]);
  });
});
