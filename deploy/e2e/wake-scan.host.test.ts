/**
 * Fifty sleeping tenants and a client that nobody knows, with real Caddy, the real `proxy`, and `vm`'s lifecycle and budgets over a host in memory: fifty real guests
 * are more than a machine of tests has. `wake.nightly.ts` is the same with one real guest.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ask, echo, openWebSocket } from "@lobsterd/proxy/testing/https-client.ts";
import { assertRefused, hostOf } from "@lobsterd/proxy/testing/probes.ts";
import { findCaddy } from "@lobsterd/proxy/testing/programs.ts";
import { plainGuests } from "@lobsterd/proxy/testing/scene.ts";
import { openServiceStage } from "@lobsterd/proxy/testing/stages.ts";
import { startWaker } from "@lobsterd/proxy/testing/waker.ts";
import { createFakeHost } from "@lobsterd/vm/lifecycle/fake-host.ts";
import { startRun, wish } from "@lobsterd/vm/lifecycle/fake-run.ts";
import { migrations } from "@lobsterd/vm/store/schema.ts";

const caddy = await findCaddy();
const count = 50;
const budget = { concurrentWakes: 2, maxQueuedWakes: 3 };
const admitted = budget.concurrentWakes + budget.maxQueuedWakes;

test("a scan of fifty sleeping tenants by an unauthenticated client wakes as many as the host's budget is, and no more", {
  skip: "reason" in caddy && caddy.reason,
}, async (context) => {
  // A tenant that nobody scans has the slot before theirs.
  const names = Array.from({ length: count }, (_, index) => `t-${index}`);
  const guests = ["worker", ...names].map((name, slot) => ({ name, address: `10.201.0.${2 * slot + 1}` }));
  const stage = await openServiceStage("path" in caddy ? caddy.path : "", { guests, fixture: plainGuests });
  context.after(() => stage.scene.close());
  const host = createFakeHost();
  const go = Promise.withResolvers<void>();
  const seen = { loading: 0, most: 0, resumed: 0 };
  const run = startRun(
    { ...host, parts: { ...host.parts, proxy: stage.routes } },
    openDatabase(":memory:", migrations),
    {
      config: { ...budget, slotCount: 64, vcpuOvercommit: 64 },
      observe: async (moment, step) => {
        if (moment === "started" && step === "load-state") {
          seen.most = Math.max(seen.most, ++seen.loading);
          await go.promise;
        }
        if (moment === "done" && step === "return-route") {
          seen.loading -= 1;
          seen.resumed += 1;
        }
      },
    },
  );
  const waker = await startWaker(stage.paths, async ({ requestId, name, vmId }) => {
    await run.wakes.wake({ requestId, name, vmId, cause: "request" });
  });
  context.after(() => waker.close());

  await run.operations.spawn(wish("worker"));
  for (const name of names) {
    await run.operations.spawn(wish(name));
    await run.operations.suspend(randomUUID(), name);
  }
  const socket = await openWebSocket(stage.front, hostOf("worker"));
  const asleep = () => run.tenants.all().filter(({ phase }) => phase === "suspended").length;

  let refused = 0;
  const answers = await Promise.all(
    names.map(async (name) => {
      const answer = await ask(stage.front, hostOf(name));
      if (answer.status === 503) refused += 1;
      // Those that the host takes wait in their resumes until everybody else has been told.
      if (refused === count - admitted) go.resolve();
      return { name, answer };
    }),
  );
  const refusals = answers.filter(({ answer }) => answer.status !== 200);
  for (const { answer } of refusals) {
    assertRefused(answer, 503, "TENANT_NOT_AWAKE");
    assert.match(String(answer.headers["retry-after"]), /^[1-5]$/);
  }
  assert.deepEqual([refusals.length, seen.resumed, asleep()], [count - admitted, admitted, count - admitted]);
  assert.ok(seen.most <= budget.concurrentWakes, `${seen.most} resumes at once`);
  for (const { name, answer } of answers) if (answer.status === 200) assert.equal(JSON.parse(answer.text).guest, name);

  const askedBefore = waker.asked.length;
  for (const { name } of refusals) assert.equal((await ask(stage.front, hostOf(name))).status, 503);
  context.diagnostic(
    `${askedBefore} questions to vm for the scan, ${waker.asked.length - askedBefore} for its repetition`,
  );
  assert.ok(waker.asked.length - askedBefore <= 1, "a busy host is asked once in its time, not once for each name");

  assert.equal(await echo(socket, "still here"), "worker:still here");
  assert.equal(stage.caddy.output().split('"load complete"').length - 1, 1);
  socket.terminate();
});
