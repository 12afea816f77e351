import assert from "node:assert/strict";
import { it } from "node:test";
import { type ElementStore, ElementsRefused, type RefusalReason } from "../firewall/element-store.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { ElementName, ListedElement, SetElement } from "../netlink/nft-element.ts";
import { type Key, keyText } from "../netlink/nft-key.ts";

const table = `table inet lobsterd {
  set sending { type ifname; size 64; limit rate 1000/second burst 100 packets; }
  set guests { type ifname . ether_addr . ipv4_addr; size 2; counter; }
  set egress { type ifname . ipv4_addr . inet_proto . inet_service; flags interval; size 4096; }
  set drops { type ifname . mark; size 1024; flags dynamic; counter; }
  set denied { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1, 224.0.0.0/3 }; }
}
`;

const link = (slot: number): Key[number] => ({ type: "ifname", value: `lob-${slot}` });

function guest(slot: number): SetElement {
  const mac = `06:00:0a:c9:00:${slot.toString(16).padStart(2, "0")}`;
  const key: Key = [link(slot), { type: "ether_addr", value: mac }, { type: "ipv4_addr", value: `10.201.0.${slot}` }];
  return { set: "guests", key };
}

function egress(slot: number, addresses: [string, string], protocol: number, ports: [number, number]): ElementName {
  const bound = (end: 0 | 1): Key => [
    link(slot),
    { type: "ipv4_addr", value: addresses[end] },
    { type: "inet_proto", value: protocol },
    { type: "inet_service", value: ports[end] },
  ];
  return { set: "egress", key: bound(0), keyEnd: bound(1) };
}

const sending = (slot: number, ratePerSecond?: number): SetElement => ({
  set: "sending",
  key: [link(slot)],
  ...(ratePerSecond === undefined ? {} : { limit: { ratePerSecond, burst: 50 } }),
});

/** What every `ElementStore` does. `open` gives one for the namespace in which `runner` runs programs. */
export function elementStoreConformance(
  open: () => { readonly store: ElementStore; readonly runner: ProcessRunner },
): void {
  async function fresh(): Promise<ElementStore> {
    const { store, runner } = open();
    await runner.run(["nft", "-f", "-"], { input: `table inet lobsterd\ndelete table inet lobsterd\n${table}` });
    return store;
  }
  const keys = async (store: ElementStore, set: string): Promise<string[]> => texts(await store.list(set));
  const refused = (work: Promise<unknown>, reason: RefusalReason): Promise<void> =>
    assert.rejects(work, (error) => error instanceof ElementsRefused && error.reason === reason);

  it("lists what was added, with its counter or limit", async () => {
    const store = await fresh();
    await store.change([
      { kind: "add", element: sending(1, 500) },
      { kind: "add", element: sending(2) },
      { kind: "add", element: guest(3) },
      { kind: "add", element: { set: "drops", key: [link(1), { type: "mark", value: 0x01020304 }] } },
    ]);
    assert.deepEqual(sorted(await store.list("sending")), [
      { key: [link(1)], limit: { ratePerSecond: 500, burst: 50 }, others: [] },
      { key: [link(2)], limit: { ratePerSecond: 1000, burst: 100 }, others: [] },
    ]);
    const counter = { packets: 0n, bytes: 0n };
    assert.deepEqual(await store.list("guests"), [{ key: guest(3).key, counter, others: [] }]);
    assert.deepEqual(await store.list("drops"), [
      { key: [link(1), { type: "mark", value: 0x01020304 }], counter, others: [] },
    ]);
  });

  it("lists ranges with both ends", async () => {
    const store = await fresh();
    const elements = [
      egress(1, ["0.0.0.0", "255.255.255.255"], 6, [0, 65_535]),
      egress(2, ["8.8.8.8", "8.8.8.8"], 17, [53, 53]),
      egress(2, ["9.0.0.1", "9.1.2.3"], 6, [80, 443]),
    ];
    await store.change(elements.map((element) => ({ kind: "add", element })));
    assert.deepEqual(
      sorted(await store.list("egress")),
      elements.map(({ key, keyEnd }) => ({ key, keyEnd, others: [] })),
    );
    assert.deepEqual(await keys(store, "denied"), [
      "10.0.0.0-10.255.255.255",
      "192.0.2.1",
      "224.0.0.0-255.255.255.255",
    ]);
  });

  it("keeps what is there when it is added again, and replaces it when told so", async () => {
    const store = await fresh();
    await store.change([{ kind: "add", element: sending(1, 500) }]);
    await store.change([{ kind: "add", element: sending(1, 9) }]);
    assert.equal((await store.list("sending"))[0]?.limit?.ratePerSecond, 500);
    await store.change([
      { kind: "replace", element: sending(1, 9) },
      { kind: "replace", element: sending(2, 8) },
    ]);
    assert.deepEqual(
      sorted(await store.list("sending")).map(({ limit }) => limit?.ratePerSecond),
      [9, 8],
    );
  });

  it("deletes what is there and what is not, whatever its limit", async () => {
    const store = await fresh();
    await store.change([
      { kind: "add", element: sending(1, 500) },
      { kind: "add", element: sending(2) },
    ]);
    const deletion = [1, 3].map((slot) => ({ kind: "delete" as const, element: sending(slot) }));
    await store.change(deletion);
    await store.change(deletion);
    assert.deepEqual(await keys(store, "sending"), ["lob-2"]);
  });

  it("exchanges ranges for ones that overlap them in one transaction", async () => {
    const store = await fresh();
    const narrow = egress(1, ["9.0.0.0", "9.0.0.255"], 6, [80, 80]);
    const wide = egress(1, ["9.0.0.0", "9.255.255.255"], 6, [80, 80]);
    await store.change([{ kind: "add", element: narrow }]);
    await refused(store.change([{ kind: "add", element: wide }]), "overlap");
    await store.change([
      { kind: "delete", element: narrow },
      { kind: "add", element: wide },
    ]);
    assert.deepEqual(await keys(store, "egress"), [keyText(wide.key, wide.keyEnd)]);
  });

  it("finds elements in the order asked for", async () => {
    const store = await fresh();
    const range = egress(1, ["9.0.0.0", "9.1.2.3"], 6, [80, 443]);
    const inside = egress(1, ["9.0.0.0", "9.0.0.0"], 6, [80, 80]);
    await store.change([
      { kind: "add", element: guest(1) },
      { kind: "add", element: range },
    ]);
    const found = await store.find([guest(2), range, guest(1), inside]);
    assert.deepEqual(
      found.map((element) => element && keyText(element.key, element.keyEnd)),
      [undefined, keyText(range.key, range.keyEnd), keyText(guest(1).key), undefined],
    );
    assert.deepEqual(await store.find([]), []);
  });

  it("changes all or nothing", async () => {
    const store = await fresh();
    const nowhere: SetElement = { set: "nowhere", key: [link(1)] };
    await refused(
      store.change([
        { kind: "add", element: guest(1) },
        { kind: "add", element: nowhere },
      ]),
      "no-such-set",
    );
    await refused(store.change([1, 2, 3].map((slot) => ({ kind: "add", element: guest(slot) }))), "set-full");
    assert.deepEqual(await keys(store, "guests"), []);
    await store.change([]);
  });

  it("refuses to read a set that is not there", async () => {
    const store = await fresh();
    await refused(store.list("nowhere"), "no-such-set");
    await refused(store.find([{ set: "nowhere", key: [link(1)] }]), "no-such-set");
  });

  it("names what is attached to an element and not its own", async () => {
    const store = await fresh();
    const text = `add set inet lobsterd over { type ifname; limit rate over 5/second; }
      add element inet lobsterd over { "lob-1" limit rate over 5/second }
      add set inet lobsterd brief { type ifname; flags timeout; }
      add element inet lobsterd brief { "lob-1" timeout 1h }
    `;
    await open().runner.run(["nft", "-f", "-"], { input: text });
    assert.deepEqual(await store.list("over"), [{ key: [link(1)], others: ["limit"] }]);
    assert.deepEqual(await store.list("brief"), [{ key: [link(1)], others: ["timeout"] }]);
  });

  it("refuses a value that is none before anything is done", async () => {
    const store = await fresh();
    const bad: SetElement = { set: "sending", key: [{ type: "ifname", value: 'x" }; flush ruleset; #' }] };
    await assert.rejects(
      store.change([
        { kind: "add", element: sending(1) },
        { kind: "add", element: bad },
      ]),
      RangeError,
    );
    assert.deepEqual(await keys(store, "sending"), []);
  });
}

function sorted(elements: readonly ListedElement[]): ListedElement[] {
  return [...elements].sort((a, b) => (keyText(a.key, a.keyEnd) < keyText(b.key, b.keyEnd) ? -1 : 1));
}

function texts(elements: readonly ListedElement[]): string[] {
  return sorted(elements).map(({ key, keyEnd }) => keyText(key, keyEnd));
}
