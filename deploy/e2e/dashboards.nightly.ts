import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fetchPrograms, observabilityLockPath } from "../dev/debian-archive.ts";
import { checkoutDir } from "../dev/instance.ts";
import { dashboardQueries, startPrometheus } from "../observability/prometheus.fixture.ts";
import { env, evict, giveSecret, spawn } from "./subject.ts";

const name = "on-a-dashboard";
/** Two exports, so that rates have two points. */
const watchMs = 35_000;
/** A development machine is no host for hostile tenants, and says so. */
const expectedAlerts = new Set(["HostPostureRed"]);

after(() => evict(name));

test("a real Prometheus takes every query of the dashboards on what a running stack exports, and no alert rings", async (context) => {
  await fetchPrograms(checkoutDir, undefined, observabilityLockPath);
  const prometheus = await startPrometheus(context, new URL(env.LOBSTERD_TRACES).host);
  await giveSecret(name, "api-key");
  await spawn(name);
  await evict(name);
  await spawn(name);
  await delay(watchMs);
  const answered: string[] = [];
  const queries = dashboardQueries();
  for (const { where, query } of queries) {
    if ((await prometheus.query(query)) > 0) answered.push(where);
  }
  context.diagnostic(`${answered.length} of ${queries.length} queries have an answer`);
  // The others ask for what did not happen: failures, drops, repairs.
  assert.ok(answered.length > 45, `${answered.length} queries have an answer:\n${answered.join("\n")}`);
  const ringing = (await prometheus.alerts()).filter((alert) => !expectedAlerts.has(alert));
  assert.deepEqual(ringing, []);
});
