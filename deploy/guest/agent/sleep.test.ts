import assert from "node:assert/strict";
import { before, test } from "node:test";
import { CurrentIdentity } from "./current-identity.ts";
import { Sleep } from "./sleep.ts";
import { outcomeOf, type TestGuest, testGuest } from "./testing.ts";
import { runHook } from "./workload-hook.ts";

let guest: TestGuest;
before(async () => {
  guest = await testGuest();
});

function subject(workload: { suspend?: () => Promise<void>; resume?: () => Promise<void> } = {}) {
  const done: string[] = [];
  const current = new CurrentIdentity(guest.identity);
  const sleep = new Sleep({
    current,
    gate: {
      hold: async () => void done.push("hold front"),
      release: async () => void done.push("release front"),
    },
    secrets: { forget: async () => void done.push("forget secrets") },
    suspendWorkload: workload.suspend ?? (async () => void done.push("suspend workload")),
    resumeWorkload: workload.resume ?? (async () => void done.push("resume workload")),
    syncFileSystems: async () => void done.push("sync"),
  });
  return { current, sleep, done };
}

const failing = async () => {
  throw new Error("busy");
};

test("the workload is asked first, the disk is written last, and repeated it is asked no second time", async () => {
  const { sleep, done } = subject();
  await sleep.prepare();
  assert.deepEqual(done, ["suspend workload", "hold front", "forget secrets", "sync"]);
  await sleep.prepare();
  assert.deepEqual(done.slice(4), ["hold front", "forget secrets", "sync"]);
});

test("for a copy of the disk nobody is cut off and nothing is forgotten, and the workload goes on under its generation", async () => {
  const { sleep, done } = subject();
  await sleep.prepare({ diskOnly: true });
  assert.deepEqual(done, ["suspend workload", "sync"]);
  await sleep.complete(1);
  assert.deepEqual(done.slice(2), ["resume workload", "release front"]);
});

test("a workload that refuses is not disturbed", async () => {
  const { sleep, done } = subject({ suspend: failing });
  assert.equal(await outcomeOf(sleep.prepare()), "dropped");
  await assert.rejects(sleep.prepare(), /refused to be suspended/);
  assert.deepEqual(done, []);
});

test("the port answers again once the new generation's identity is here, and not before", async () => {
  const { current, sleep, done } = subject();
  await sleep.prepare();
  done.length = 0;
  await assert.rejects(sleep.complete(2), /not installed/);
  assert.deepEqual(done, []);
  current.replace({ ...current.value, generation: 2 });
  await assert.rejects(sleep.complete(1), /not installed/);
  await sleep.complete(2);
  await sleep.complete(2);
  assert.deepEqual(done, ["resume workload", "release front", "release front"]);
});

test("from a suspend on no secrets come back before the next generation's, and for a copy of the disk they stay", async () => {
  const { current, sleep } = subject();
  await sleep.prepare({ diskOnly: true });
  assert.equal(sleep.isEmptied, false);
  await sleep.prepare();
  assert.equal(sleep.isEmptied, true);
  current.replace({ ...current.value, certificatePem: "renewed" });
  assert.equal(sleep.isEmptied, true);
  current.replace({ ...current.value, generation: 2 });
  assert.equal(sleep.isEmptied, false);
  await sleep.complete(2);
  await sleep.prepare();
  assert.equal(sleep.isEmptied, true);
});

test("a workload that fails to resume does not keep the port closed", async () => {
  const { sleep, done } = subject({ resume: failing });
  await sleep.prepare();
  await sleep.complete(1);
  assert.equal(done.at(-1), "release front");
});

const account = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const manifest = { user: account, environment: { PATH: "/usr/bin:/bin", GIVEN: "1" } };

test("a hook runs with the image's environment alone, and one that fails, hangs or floods is refused", async () => {
  await runHook(undefined, manifest);
  await runHook(["sh", "-c", 'test "$GIVEN" = 1 && test -z "$NODE_TEST_CONTEXT"'], manifest);
  await assert.rejects(runHook(["sh", "-c", "exit 3"], manifest));
  await assert.rejects(runHook(["sleep", "600"], manifest, 50));
  await assert.rejects(runHook(["sh", "-c", "yes"], manifest));
  await assert.rejects(runHook(["/nonexistent"], manifest));
});
