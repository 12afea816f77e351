import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { memoryLimitTerms } from "../launcher/capacity.ts";
import { memoryLimitBytes } from "../launcher/cgroup.ts";
import { migrations } from "../store/schema.ts";
import type { Resources } from "../store/tenant-record.ts";
import type { VmmDescription } from "../vmm/port.ts";
import { amountsOf, capacityOf, measureCapacity, readConnectionMax, requireRoom } from "./capacity.ts";
import { createFakeHost } from "./fake-host.ts";
import { startRun, wish } from "./fake-run.ts";

const memory = () => openDatabase(":memory:", migrations);
const description: VmmDescription = {
  ...{ vmm: "fake", version: "0", accelerator: "none", productionBoundary: false, reason: "a test" },
  ...{ cores: 4, memoryMib: 10_240, overlayCapacityMib: 9_216, slotCount: 64 },
  memoryLimit: { perGuestMib: 1.5, besideMib: 256 },
  templates: { offered: false, count: 0 },
};
const limits = { vcpuOvercommit: 2, reservedMemoryMib: 1024, reservedDiskMib: 1024 };
const measured = { sealedBytes: 0, connectionMax: 44_032 };
const capacity = capacityOf(description, limits, measured);
const tenant: Resources = { vcpuCount: 1, memoryMib: 256, diskMib: 1024 };
const of = (count: number, resources: Partial<Resources> = {}) =>
  Array.from({ length: count }, () => ({ ...tenant, ...resources }));

/** What is held; what is wanted; the resource that runs out, with what is wanted and left of it, or nothing. */
const cases: readonly (readonly [string, readonly Resources[], Partial<Resources>, string])[] = [
  ["an empty host takes a tenant", [], {}, ""],
  ["the last vCPU is given", of(7, { memoryMib: 64, diskMib: 64 }), {}, ""],
  ["a vCPU more is not", of(7, { memoryMib: 64, diskMib: 64 }), { vcpuCount: 2 }, "vcpus 2 1"],
  ["the last MiB of memory is given", of(2, { memoryMib: 2560, diskMib: 64 }), { memoryMib: 512 }, ""],
  ["a MiB more is not", of(2, { memoryMib: 2560, diskMib: 64 }), { memoryMib: 513 }, "memory_mib 1026 1024"],
  // 1 % and 8 MiB more than the memory, for when it is sealed.
  ["the last MiB of disk is given", of(4, { diskMib: 1900 - 267 }), { diskMib: 592 - 267 }, ""],
  ["a MiB more is not", of(4, { diskMib: 1900 - 267 }), { diskMib: 593 - 267 }, "disk_mib 593 592"],
  [
    "nor is a disk without room for its tenant's memory",
    of(4, { diskMib: 1633 }),
    { diskMib: 592 },
    "disk_mib 859 592",
  ],
];
for (const [name, held, wanted, refusal] of cases) {
  test(`${name}${refusal && `: ${refusal}`}`, () => {
    let refused = "";
    try {
      requireRoom(capacity, held, { ...tenant, ...wanted });
    } catch (error) {
      assert.ok(error instanceof ServiceError && error.reason === "HOST_FULL");
      refused = `${error.metadata["resource"]} ${error.metadata["wanted"]} ${error.metadata["left"]}`;
    }
    assert.equal(refused, refusal);
  });
}

test("tracked connections bound the tenants as HOST-05 has it, and not where none are tracked", () => {
  const small = { vcpuCount: 1, memoryMib: 1, diskMib: 1 };
  const wide = { ...description, cores: 1e6, memoryMib: 1e9, overlayCapacityMib: 1e9 };
  const takes = (max: number | undefined, tenants: number) => {
    const host = capacityOf(wide, limits, { sealedBytes: 0, connectionMax: max });
    try {
      requireRoom(
        host,
        Array.from({ length: tenants - 1 }, () => small),
        small,
      );
      return true;
    } catch (error) {
      assert.ok(error instanceof ServiceError && error.metadata["resource"] === "connections");
      return false;
    }
  };
  // ceil(1.25 x (T x 1024 + T x 1024 + 16,384))
  assert.deepEqual([takes(276_480, 100), takes(276_480, 101), takes(276_479, 100)], [true, false, false]);
  assert.deepEqual([takes(2_580_480, 1000), takes(2_580_480, 1001)], [true, false]);
  assert.deepEqual([takes(16_384, 1), takes(0, 1), takes(undefined, 5000)], [false, false, true]);
});

test("a reserve larger than the host leaves nothing, not less", () => {
  const none = capacityOf({ ...description, memoryMib: 512, overlayCapacityMib: 0 }, limits, {
    ...{ sealedBytes: 0, connectionMax: 0 },
  });
  assert.deepEqual([none.memoryMib, none.diskMib, none.connections], [0, 0, 0]);
});

test("room that sealed memories have taken is not lost: it is theirs", async () => {
  const asked: string[] = [];
  const mib = 1024 ** 2;
  const describe = async () => {
    asked.push("free");
    return description;
  };
  const { diskMib } = await measureCapacity({
    config: limits,
    files: {
      sealedBytes: async () => {
        await new Promise(setImmediate);
        asked.push("sealed");
        return 300 * mib + 1;
      },
    },
    parts: {
      vmm: { ...createFakeHost().parts.vmm, describe },
      readConnectionMax: async () => undefined,
    },
  });
  assert.equal(diskMib, capacity.diskMib + 300);
  assert.deepEqual(asked, ["sealed", "free"], "what is sealed in between is counted once at most");
});

test("memory is counted as the cgroup's limit has it", () => {
  for (const overheadMib of [0, 128, 256]) {
    for (const memoryMib of [64, 255, 256, 1000, 65_536]) {
      const memoryLimit = memoryLimitTerms(overheadMib);
      const { memoryMib: counted } = amountsOf([{ ...tenant, memoryMib }], { memoryLimit });
      assert.equal(counted, memoryLimitBytes({ vcpuCount: 1, memoryMib, overheadMib }) / 1024 ** 2);
    }
  }
});

test("the kernel's limit is read as a number, its absence as none, and anything else as a fault", async () => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-capacity-"));
  try {
    const path = join(directory, "nf_conntrack_max");
    assert.equal(await readConnectionMax(path), undefined);
    writeFileSync(path, "262144\n");
    assert.equal(await readConnectionMax(path), 262_144);
    writeFileSync(path, "many\n");
    await assert.rejects(readConnectionMax(path), /no number/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

const scarce: Record<string, Parameters<typeof createFakeHost>[0]> = {
  vcpus: { description: { cores: 0.2 } },
  memory_mib: { description: { memoryMib: 1024 + 639 } },
  disk_mib: { description: { overlayCapacityMib: 1024 + 1024 + 266 } },
  connections: { connectionMax: 20_000 },
  jail_uids: { description: { slotCount: 0 } },
};
for (const [resource, options] of Object.entries(scarce)) {
  test(`a spawn for which there is too little of ${resource} is refused before anything happens`, async () => {
    const host = createFakeHost(options);
    const { operations, tenants, journal, told } = startRun(host, memory(), { config: { vcpuOvercommit: 4 } });
    await assert.rejects(operations.spawn(wish("demo")), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.deepEqual([error.reason, error.metadata["resource"]], ["HOST_FULL", resource]);
      return true;
    });
    assert.deepEqual([await host.inventory(), [...host.keys], journal.open(), told], [[], [], [], []]);
    assert.equal(tenants.count(), 0);
  });
}

test("a slot that is taken is named as what ran out", async () => {
  const { operations } = startRun(createFakeHost(), memory(), { config: { slotCount: 1 } });
  await operations.spawn(wish("one"));
  await assert.rejects(operations.spawn(wish("two")), (error) => {
    assert.ok(error instanceof ServiceError && error.reason === "NO_FREE_SLOT");
    assert.deepEqual({ ...error.metadata }, { resource: "slots", wanted: "1", left: "0" });
    return true;
  });
});

test("vCPUs are one or an even number, and memory and disk are within their bounds", async () => {
  const host = createFakeHost();
  const { operations } = startRun(host, memory(), { config: { maxVcpuCount: 8, maxMemoryMib: 512, maxDiskMib: 2048 } });
  const spawnWith = (resources: Partial<Resources>) =>
    operations.spawn({ ...wish("demo"), resources: { vcpuCount: 0, memoryMib: 0, diskMib: 0, ...resources } });
  for (const [resources, field] of [
    [{ vcpuCount: 3 }, "resources.vcpu_count"],
    [{ vcpuCount: 7 }, "resources.vcpu_count"],
    [{ vcpuCount: 10 }, "resources.vcpu_count"],
    [{ memoryMib: 127 }, "resources.memory_mib"],
    [{ memoryMib: 513 }, "resources.memory_mib"],
    [{ diskMib: 63 }, "resources.disk_mib"],
    [{ diskMib: 2049 }, "resources.disk_mib"],
  ] as const) {
    await assert.rejects(spawnWith(resources), (error) => {
      assert.ok(error instanceof ServiceError);
      assert.deepEqual([error.reason, error.metadata["field"]], ["RESOURCES_OUT_OF_RANGE", field]);
      return true;
    });
  }
  assert.deepEqual(await host.inventory(), []);
  for (const vcpuCount of [1, 2, 4, 8]) {
    assert.equal((await spawnWith({ vcpuCount })).resources.vcpuCount, vcpuCount);
    await operations.evict(randomUUID(), "demo");
  }
});

/** A generator of the same numbers for the same seed (mulberry32). */
function random(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) % 1_000_000) % below;
  };
}

test("however many spawns and evictions run at once, no more is given than there is", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    const pick = random(seed);
    const room = { cores: 1 + pick(4), memoryMib: 2048 + pick(8192), overlayCapacityMib: 2048 + pick(8192) };
    const host = createFakeHost({ description: room, connectionMax: 40_000 + pick(60_000) });
    const config = { vcpuOvercommit: 4, slotCount: 32, maxVcpuCount: 4, maxQueuedBoots: 64 };
    const run = startRun(host, memory(), { config });
    const limit = capacityOf(
      { ...description, ...room },
      { ...limits, vcpuOvercommit: 4 },
      { sealedBytes: 0, connectionMax: await host.parts.readConnectionMax() },
    );
    const fits = () => {
      const held = amountsOf(run.tenants.resources(), limit);
      for (const name of ["vcpus", "memoryMib", "diskMib", "connections"] as const) {
        assert.ok(held[name] <= limit[name], `seed ${seed}: ${held[name]} of ${limit[name]} ${name}`);
      }
    };
    const attempts = Array.from({ length: 24 }, async (_, index) => {
      const resources = { vcpuCount: [1, 2, 4][pick(3)] ?? 1, memoryMib: 128 + pick(1024), diskMib: 64 + pick(2048) };
      try {
        await run.operations.spawn({ ...wish(`t${index}`), resources });
        fits();
        if (pick(2) === 0) await run.operations.evict(randomUUID(), `t${index}`);
      } catch (error) {
        assert.ok(error instanceof ServiceError && error.reason === "HOST_FULL", `seed ${seed}: ${error}`);
        assert.ok(Number(error.metadata["wanted"]) > Number(error.metadata["left"]), `seed ${seed}: it would fit`);
        assert.equal(run.tenants.find(`t${index}`), undefined);
      }
      fits();
    });
    await Promise.all(attempts);
    const running = run.tenants.all().map(({ vmId }) => `microvm ${vmId}`);
    const machines = (await host.inventory()).filter((line) => line.startsWith("microvm"));
    assert.deepEqual(machines, running.sort(), `seed ${seed}: refused spawns left something`);
  }
});
