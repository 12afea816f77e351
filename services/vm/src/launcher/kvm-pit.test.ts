import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { placePit } from "./kvm-pit.ts";

const vmId = "0d".repeat(16);
const owner = { vmId, pid: 700, pidInNamespace: 12 };
const placed = `0::/vms/${vmId}\n`;

interface ThreadFacts {
  readonly comm?: string;
  readonly parent?: number;
  readonly startTicks?: number;
  readonly cgroup?: string;
}

/** A /proc of plain files, and a kernel that moves the thread whose number is written, or does what the test says instead. */
class FakeKernel {
  readonly proc = mkdtempSync(`${tmpdir()}/lobsterd-pit-`);
  readonly attempts: number[] = [];
  onPlace: (thread: number) => void = (thread) => writeFileSync(`${this.proc}/${thread}/cgroup`, placed);

  constructor() {
    this.thread(2, { comm: "kthreadd", parent: 0, startTicks: 0 });
    this.thread(owner.pid, { comm: "firecracker", parent: 1, startTicks: 4_000, cgroup: placed });
  }

  /** By default a kernel thread of the owner's name, newer than it, where the kernel starts its threads. */
  thread(
    id: number,
    { comm = "kvm-pit/12", parent = 2, startTicks = 5_000, cgroup = "0::/\n" }: ThreadFacts = {},
  ): void {
    mkdirSync(`${this.proc}/${id}`, { recursive: true });
    const files = {
      comm: `${comm}\n`,
      status: `Name:\t${comm}\nPPid:\t${parent}\n`,
      // A name may hold anything, also what looks like the fields after it.
      stat: `${id} (${comm}) 1) S ${parent} ${"0 ".repeat(17)}${startTicks} 0\n`,
      cgroup,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(`${this.proc}/${id}/${name}`, text);
  }

  place(_vmId: string, thread: number): void {
    this.attempts.push(thread);
    this.onPlace(thread);
  }

  holds(_vmId: string, text: string): boolean {
    return text === placed;
  }

  members(): Map<string, number[]> {
    const inGroup = (id: number) =>
      existsSync(`${this.proc}/${id}`) && readFileSync(`${this.proc}/${id}/cgroup`, "utf8") === placed;
    return new Map([["", [owner.pid, 800, 801].filter(inGroup)]]);
  }
}

async function withKernel(work: (kernel: FakeKernel) => Promise<void>): Promise<void> {
  const kernel = new FakeKernel();
  try {
    await work(kernel);
  } finally {
    rmSync(kernel.proc, { recursive: true });
  }
}

const unplaced = (why: RegExp) => (error: Error & { reason?: string }) => {
  assert.equal(error.reason, "KVM_PIT_UNPLACED");
  assert.match(error.message, why);
  return true;
};

test("the thread of exactly the VMM's name is moved, and nothing that looks like it", async () => {
  await withKernel(async (kernel) => {
    kernel.thread(800);
    kernel.thread(810, { comm: "kvm-pit/123" });
    kernel.thread(811, { comm: "kvm-pit/1" });
    kernel.thread(812, { comm: " kvm-pit/12" });
    kernel.thread(813, { parent: 700 }); // a process that took the name
    kernel.thread(814, { startTicks: 3_999 }); // older than the VMM: another one's
    kernel.thread(815, { cgroup: "0::/vms/other\n" }); // placed by somebody
    await placePit(kernel, owner, { proc: kernel.proc });
    assert.deepEqual(kernel.attempts, [800]);
  });
});

test("a thread that comes late is waited for", async () => {
  await withKernel(async (kernel) => {
    const placing = placePit(kernel, owner, { proc: kernel.proc });
    assert.deepEqual(kernel.attempts, []);
    kernel.thread(800);
    await placing;
    assert.deepEqual(kernel.attempts, [800]);
  });
});

test("a move that the kernel refuses is tried again", async () => {
  await withKernel(async (kernel) => {
    kernel.thread(800);
    const moves = kernel.onPlace;
    kernel.onPlace = (thread) => {
      if (kernel.attempts.length < 3)
        throw Object.assign(new Error("EINVAL: invalid argument, write"), { code: "EINVAL" });
      moves(thread);
    };
    await placePit(kernel, owner, { proc: kernel.proc });
    assert.deepEqual(kernel.attempts, [800, 800, 800]);
  });
});

const hopeless: readonly (readonly [string, (kernel: FakeKernel) => void, RegExp])[] = [
  ["there is none", () => {}, /no such thread/],
  ["the kernel keeps refusing", (kernel) => void Object.assign(kernel, { onPlace: refuse }), /thread 800: EINVAL/],
  [
    "the move does not read back",
    (kernel) => void Object.assign(kernel, { onPlace: () => {} }),
    /not where it was put/,
  ],
  ["the thread goes away", (kernel) => void Object.assign(kernel, { onPlace: goes(kernel) }), /not where it was put/],
  ["two could be its own", (kernel) => kernel.thread(801), /threads 800, 801 could all be/],
];
function refuse(): void {
  throw new Error("EINVAL: invalid argument, write");
}
const goes = (kernel: FakeKernel) => (thread: number) => rmSync(`${kernel.proc}/${thread}`, { recursive: true });

for (const [name, arrange, why] of hopeless) {
  test(`a VM is given up when ${name}`, async () => {
    await withKernel(async (kernel) => {
      if (name !== "there is none") kernel.thread(800);
      arrange(kernel);
      await assert.rejects(placePit(kernel, owner, { proc: kernel.proc, withinMs: 60 }), unplaced(why));
    });
  });
}

test("a VM whose thread was placed before needs nothing; a second thread of it, after a snapshot load, is placed too", async () => {
  await withKernel(async (kernel) => {
    kernel.thread(800, { cgroup: placed });
    await placePit(kernel, owner, { proc: kernel.proc });
    assert.deepEqual(kernel.attempts, []);
    kernel.thread(801);
    await placePit(kernel, owner, { proc: kernel.proc });
    assert.deepEqual(kernel.attempts, [801]);
  });
});
