import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { ImageCatalogue } from "../guest/images.ts";
import { migrations } from "../store/schema.ts";
import { type VmStart, vmmFail } from "../vmm/port.ts";
import { testDiskKey } from "../vmm/testing-disk-key.ts";
import type { Failure } from "./fake-failures.ts";
import { createFakeHost } from "./fake-host.ts";
import { config, findBase, startRun, wish } from "./fake-run.ts";
import { type SpawnStep, type StepObserver, spawnSteps } from "./journal.ts";

const memory = () => openDatabase(":memory:", migrations);
const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;

test("a spawned tenant runs with network, microVM, identity and route, and an eviction leaves nothing", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  const tenant = await operations.spawn(wish("demo"));
  assert.equal(tenant.phase, "running");
  assert.deepEqual(
    (await host.inventory()).map((line) => line.split(" ")[0]),
    ["identity", "microvm", "network", "route"],
  );
  await operations.evict(randomUUID(), "demo");
  assert.deepEqual(await host.inventory(), []);
  assert.deepEqual([...host.keys], []);
  assert.equal(tenants.find("demo"), undefined);
});

const rpcOfStep: Partial<Record<SpawnStep, Failure>> = {
  "issue-identity": "issueGuestIdentity",
  "prepare-jail": "createDataKey",
  "attach-network": "attachNetwork",
  "boot-guest": "awaitAgent",
  "inject-secrets": "injectSecrets",
  "await-workload": "awaitWorkload",
  "publish-route": "publishRoute",
};

for (const failure of Object.values(rpcOfStep)) {
  test(`a spawn whose ${failure} fails after its effect leaves nothing`, async () => {
    const host = createFakeHost();
    const { operations, tenants, journal } = startRun(host, memory());
    host.failing.add(failure);
    await assert.rejects(operations.spawn(wish("demo")));
    assert.deepEqual(await host.inventory(), []);
    assert.deepEqual([...host.keys], []);
    assert.equal(tenants.find("demo"), undefined);
    assert.deepEqual(journal.open(), []);
  });
}

for (const step of spawnSteps) {
  for (const moment of ["started", "done"] as const) {
    test(`a spawn that fails when ${step} is ${moment} leaves nothing`, async () => {
      const host = createFakeHost();
      const { operations, tenants } = startRun(host, memory(), {
        observe: async (at, name) => {
          if (at === moment && name === step) throw new Error("told to fail");
        },
      });
      await assert.rejects(operations.spawn(wish("demo")));
      assert.deepEqual(await host.inventory(), []);
      assert.deepEqual([...host.keys], []);
      assert.equal(tenants.find("demo"), undefined);
    });

    test(`vm dying when ${step} is ${moment} is unwound by its next run`, async () => {
      const host = createFakeHost();
      const database = memory();
      const reached = Promise.withResolvers<void>();
      const first = startRun(host, database, {
        observe: async (at, name) => {
          if (at !== moment || name !== step) return;
          reached.resolve();
          // What follows never happens: the process is gone.
          await new Promise(() => undefined);
        },
      });
      void first.operations.spawn(wish("demo"));
      await reached.promise;
      await new Promise(setImmediate);
      const second = startRun(host, database);
      await second.operations.reconcile();
      assert.deepEqual(await host.inventory(), []);
      assert.deepEqual([...host.keys], []);
      assert.deepEqual(second.told, [
        "record SpawnTenant outcome failure SPAWN_INTERRUPTED demo",
        "event spawn-failed demo SPAWN_INTERRUPTED",
      ]);
      assert.equal(second.tenants.find("demo"), undefined);
      const running = await second.operations.spawn(wish("demo"));
      assert.equal(running.phase, "running");
    });
  }
}

test("what cannot be unwound now keeps the name and is removed by a later reconcile", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  host.failing.add("publishRoute").add("detachNetwork");
  await assert.rejects(operations.spawn(wish("demo")));
  assert.equal(tenants.find("demo")?.phase, "evicting");
  assert.deepEqual(
    (await host.inventory()).map((line) => line.split(" ")[0]),
    ["network"],
  );
  await assert.rejects(operations.spawn(wish("demo")), withReason("TENANT_BUSY"));
  host.failing.clear();
  await operations.reconcile();
  assert.deepEqual(await host.inventory(), []);
  assert.equal(tenants.find("demo"), undefined);
});

test("an eviction removes what it can when a peer is down, says what is left, and is finished later", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  await operations.spawn(wish("demo"));
  host.failing.add("shredTenant");
  await assert.rejects(operations.evict(randomUUID(), "demo"), withReason("EVICTION_INCOMPLETE"));
  assert.deepEqual(
    (await host.inventory()).map((line) => line.split(" ")[0]),
    ["identity"],
  );
  host.failing.clear();
  await operations.reconcile();
  assert.deepEqual([...host.keys], []);
  assert.equal(tenants.find("demo"), undefined);
});

test("an eviction that the reconciler finished is a success when its request comes again, and harms no new tenant", async () => {
  const host = createFakeHost();
  const { operations, tenants, clock } = startRun(host, memory());
  await operations.spawn(wish("demo"));
  const requestId = randomUUID();
  host.failing.add("shredTenant");
  await assert.rejects(operations.evict(requestId, "demo"), withReason("EVICTION_INCOMPLETE"));
  await assert.rejects(operations.evict(requestId, "demo"), withReason("EVICTION_INCOMPLETE"));
  host.failing.clear();
  await operations.reconcile();
  await operations.evict(requestId, "demo");
  clock.nowMs += config.slotQuarantineMs;
  const { vmId } = await operations.spawn(wish("demo"));
  await operations.evict(requestId, "demo");
  assert.equal(tenants.find("demo")?.vmId, vmId);
  assert.equal(tenants.find("demo")?.phase, "running");
  await assert.rejects(operations.evict(requestId, "other"), withReason("REQUEST_ID_REUSED"));
  await assert.rejects(operations.evict(randomUUID(), "other"), withReason("TENANT_NOT_FOUND"));
});

test("an eviction that a later run finishes is recorded and told once, when nothing is left and not before", async () => {
  const host = createFakeHost();
  const database = memory();
  const first = startRun(host, database);
  await first.operations.spawn(wish("demo"));
  host.failing.add("shredTenant");
  await assert.rejects(first.operations.evict(randomUUID(), "demo"), withReason("EVICTION_INCOMPLETE"));
  const second = startRun(host, database);
  await second.operations.reconcile();
  assert.deepEqual(second.told, []);
  host.failing.clear();
  await second.operations.reconcile();
  await second.operations.reconcile();
  assert.deepEqual(second.told, ["record EvictTenant outcome success  demo", "event evicted demo"]);
});

test("a removal that is under way is left to its own caller", async () => {
  const host = createFakeHost();
  const { operations, told } = startRun(host, memory());
  await operations.spawn(wish("demo"));
  await Promise.all([operations.evict(randomUUID(), "demo"), operations.reconcile()]);
  assert.deepEqual(told, ["event spawned demo", "event evicted demo"]);
});

test("evicting a tenant that is being spawned cancels the spawn and destroys its key", async () => {
  const host = createFakeHost();
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const { operations, tenants } = startRun(host, memory(), {
    observe: async (at, step) => {
      if (at !== "done" || step !== "attach-network") return;
      reached.resolve();
      await go.promise;
    },
  });
  const spawning = assert.rejects(operations.spawn(wish("demo")), withReason("SPAWN_CANCELLED"));
  await reached.promise;
  const evicting = operations.evict(randomUUID(), "demo");
  go.resolve();
  await Promise.all([spawning, evicting]);
  assert.deepEqual(await host.inventory(), []);
  assert.deepEqual([...host.keys], []);
  assert.equal(tenants.find("demo"), undefined);
});

test("a taken name is refused, even while the first spawn is under way, and the first is unharmed", async () => {
  const host = createFakeHost();
  const { operations } = startRun(host, memory());
  const [first, second] = await Promise.allSettled([operations.spawn(wish("demo")), operations.spawn(wish("demo"))]);
  assert.equal(first.status, "fulfilled");
  assert.ok(second.status === "rejected" && reasonOf(second.reason) === "TENANT_EXISTS");
  await assert.rejects(operations.spawn(wish("demo")), withReason("TENANT_EXISTS"));
  await operations.evict(randomUUID(), "demo");
  assert.deepEqual(await host.inventory(), []);
});

test("of two spawns that race for a name the one that overtook the other is not taken for an interrupted one", async () => {
  const host = createFakeHost();
  const slow = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let calls = 0;
  const findImage: ImageCatalogue["find"] = async (name) => {
    if (calls++ === 0) await slow.promise;
    return await findBase(name);
  };
  const hold: StepObserver = async (at, step) => {
    if (at !== "done" || step !== "attach-network") return;
    reached.resolve();
    await go.promise;
  };
  const { operations, tenants } = startRun(host, memory(), { observe: hold, findImage });
  const overtaken = assert.rejects(operations.spawn(wish("demo")), withReason("TENANT_EXISTS"));
  const spawning = operations.spawn(wish("demo"));
  await reached.promise;
  slow.resolve();
  await overtaken;
  await operations.reconcile();
  go.resolve();
  await spawning;
  assert.equal(tenants.find("demo")?.phase, "running");
  assert.equal((await host.inventory()).length, 4);
});

test("a guest that does not answer is booted once more, and a jail that is not as ordered is not", async () => {
  for (const [failure, boots] of [
    ["awaitAgent", 2],
    ["start", 1],
  ] as const) {
    const host = createFakeHost();
    let starts = 0;
    const { start } = host.parts.vmm;
    Object.assign(host.parts.vmm, {
      start: (order: VmStart) => {
        starts++;
        if (failure === "start") throw vmmFail("JAIL_MISMATCH", "told to fail");
        return start(order);
      },
    });
    if (failure === "awaitAgent") host.failing.add(failure);
    const { operations } = startRun(host, memory());
    await assert.rejects(operations.spawn(wish("demo")));
    assert.equal(starts, boots, failure);
    assert.deepEqual(await host.inventory(), []);
  }
});

test("steps that run side by side are recorded before any of them begins, and no step waits for a record of its end", async () => {
  const host = createFakeHost();
  const database = memory();
  const recorded = () => database.prepare("SELECT count(*) AS steps FROM operation_step").get()?.["steps"];
  const changes = () => Number(database.prepare("SELECT total_changes() AS changes").get()?.["changes"]);
  const seen: unknown[] = [];
  let atStart = 0;
  const { operations } = startRun(host, database, {
    observe: async (moment, step) => {
      if (moment === "started" && seen.length < 3) seen.push(recorded());
      if (step === "await-workload" && moment === "started") atStart = changes();
      if (step === "await-workload" && moment === "done") assert.equal(changes(), atStart);
      if (step === "publish-route" && moment === "started")
        assert.equal(changes(), atStart + 1, "one record, of its start");
    },
  });
  await operations.spawn(wish("demo"));
  assert.deepEqual(seen, [3, 3, 3]);
});

test("the identity drive is emptied beside the injection, and a spawn whose drive is not emptied leaves nothing", async () => {
  const host = createFakeHost();
  const injecting = Promise.withResolvers<void>();
  const { operations, tenants } = startRun(host, memory(), {
    observe: async (moment, step) => {
      if (moment === "started" && step === "inject-secrets") injecting.resolve();
    },
  });
  Object.assign(host.parts.vmm, {
    emptyIdentityDrive: async () => {
      await injecting.promise;
      throw vmmFail("HOST_UNSAFE", "told to fail");
    },
  });
  await assert.rejects(operations.spawn(wish("demo")), withReason("HOST_UNSAFE"));
  assert.deepEqual(await host.inventory(), []);
  assert.equal(tenants.find("demo"), undefined);
});

test("the request that made a tenant gets it again after a crash lost the stored answer", async () => {
  const host = createFakeHost();
  const database = memory();
  const request = wish("demo");
  const made = await startRun(host, database).operations.spawn(request);
  const again = await startRun(host, database).operations.spawn(request);
  assert.equal(again.vmId, made.vmId);
});

test("unknown images, sizes out of range and a full host are refused before anything happens", async () => {
  const host = createFakeHost();
  const { operations, clock } = startRun(host, memory());
  await assert.rejects(operations.spawn({ ...wish("demo"), image: "none" }), withReason("UNKNOWN_IMAGE"));
  const tooLarge = { vcpuCount: 0, memoryMib: 1_000_000, diskMib: 0 };
  await assert.rejects(
    operations.spawn({ ...wish("demo"), resources: tooLarge }),
    withReason("RESOURCES_OUT_OF_RANGE"),
  );
  assert.deepEqual(await host.inventory(), []);
  for (const name of ["a", "b", "c", "d"]) await operations.spawn(wish(name));
  await assert.rejects(operations.spawn(wish("e")), withReason("NO_FREE_SLOT"));
  await operations.evict(randomUUID(), "a");
  await assert.rejects(operations.spawn(wish("e")), withReason("NO_FREE_SLOT"), "the freed slot is in quarantine");
  clock.nowMs += config.slotQuarantineMs;
  await operations.spawn(wish("e"));
});

test("reconcile removes what belongs to no tenant, restores what a tenant misses, and then changes nothing", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  const stray = "f".repeat(32);
  host.networks.set(stray, { slot: 3 });
  host.routes.set("stray", { vmId: stray, generation: 1, state: RouteState.AWAKE, extraHostNames: [] });
  await host.parts.vmm.prepare({ vmId: stray, slot: 3, image: "base", overlayMib: 64, diskKey: testDiskKey });
  host.networks.delete(vmId);
  host.routes.delete("demo");
  const expected = [`identity ${vmId}`, `microvm ${vmId}`, `network ${vmId}`, "route demo"];
  await operations.reconcile();
  assert.deepEqual(await host.inventory(), expected);
  await operations.reconcile();
  assert.deepEqual(await host.inventory(), expected);
  assert.equal(tenants.find("demo")?.phase, "running");
});

test("a stray that cannot be removed holds up no other repair, and comes again", async () => {
  const host = createFakeHost();
  const { operations } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  const stubborn = "0".repeat(32);
  const stray = "1".repeat(32);
  for (const [slot, id] of [stubborn, stray].entries()) {
    host.networks.set(id, { slot: slot + 1, egress: undefined });
    host.routes.set(`stray-${slot}`, { vmId: id, generation: 1, state: RouteState.AWAKE, extraHostNames: [] });
    await host.parts.vmm.prepare({ vmId: id, slot: slot + 1, image: "base", overlayMib: 64, diskKey: testDiskKey });
  }
  host.networks.delete(vmId);
  host.routes.delete("demo");
  const { remove } = host.parts.vmm;
  Object.assign(host.parts.vmm, {
    remove: async (id: string) => {
      if (id === stubborn) throw vmmFail("HOST_UNSAFE", "told to fail");
      await remove(id);
    },
  });
  host.stubborn.add(stubborn);
  await operations.reconcile();
  const own = [`identity ${vmId}`, `microvm ${vmId}`, `network ${vmId}`, "route demo"];
  const left = [`microvm ${stubborn}`, `network ${stubborn}`, "route stray-0"];
  assert.deepEqual(await host.inventory(), [...own, ...left].sort());
  host.stubborn.clear();
  Object.assign(host.parts.vmm, { remove });
  await operations.reconcile();
  assert.deepEqual(await host.inventory(), own);
});

test("slots are unique under 200 mixed spawns and evictions", async () => {
  const host = createFakeHost();
  const { operations, tenants, clock } = startRun(host, memory());
  for (let round = 0; round < 50; round++) {
    clock.nowMs += config.slotQuarantineMs;
    const names = ["a", "b", "c", "d"].map((letter) => `${letter}${round}`);
    await Promise.all(names.map((name) => operations.spawn(wish(name))));
    assert.equal(new Set(tenants.all().map(({ slot }) => slot)).size, 4);
    assert.equal(new Set([...host.networks.values()].map(({ slot }) => slot)).size, 4);
    await Promise.all(names.map((name) => operations.evict(randomUUID(), name)));
  }
  assert.deepEqual(await host.inventory(), []);
});
