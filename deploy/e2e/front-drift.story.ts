/** Somebody with the rights of Caddy's admin socket opens its API to the network: undone, and on record. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig, readConfig } from "@lobsterd/proxy/caddy/admin.ts";
import { createProcessRunner } from "../../services/net/src/host/process.ts";
import { clients, env, eventually } from "./subject.ts";

const adminSocket = { socketPath: join(env.LOBSTERD_RUN_DIR, "caddy-admin", "admin.sock") };
const inside = createProcessRunner(`/run/netns/${env.LOBSTERD_NETNS}`);
const listeners = (): Promise<string> => inside.run(["ss", "--no-header", "--listening", "--tcp", "--numeric"]);

test("a load that moves Caddy's admin API to TCP is undone within 10 s, and audit has it", async () => {
  const before = await readConfig(adminSocket);
  const port = 2777;
  await loadConfig(adminSocket, { admin: { listen: `0.0.0.0:${port}` } });
  await eventually("the admin API back on its socket", 10_000, async () => {
    if ((await listeners()).includes(`:${port} `)) return undefined;
    return await readConfig(adminSocket).catch(() => undefined);
  });
  assert.deepEqual(await readConfig(adminSocket), before);
  const record = await eventually("the audit record", 10_000, async () => {
    const { records } = await clients.audit.queryRecords({ action: "RepairDrift" });
    return records.find(({ draft }) => draft?.resource.startsWith("caddy-"));
  });
  assert.match(record.draft?.resource ?? "", /^caddy-(drift|moved):\/admin/);
  assert.match(record.writer, /svc\/proxy$/);
});
