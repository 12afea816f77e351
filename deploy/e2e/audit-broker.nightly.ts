/** AUD-05, REL-5: the broker is not the record. It is killed and started again 20 times while records are appended, and none of them is lost or twice. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { createAuditClient, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { instanceFiles, rpcSocketPath } from "../dev/configuration.ts";
import { certificatePaths } from "../dev/identities.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clients, env, eventually, instance } from "./subject.ts";

const restarts = 20;
const writers = 8;
const perRestart = 50;
const stack = openStack(describeInstance(instance));
const verifier = join(import.meta.dirname, "../../services/audit/src/verify/main.ts");

test(`${restarts} restarts of the broker under load lose no acknowledged record and make none twice`, async (context) => {
  const paths = certificatePaths(stack.instance);
  const tls = { ...paths.leaf("vm"), platformCaPath: paths.platformCaPath, trustDomain: env.LOBSTERD_DOMAIN };
  const peer = { service: "audit", unixPath: rpcSocketPath(stack.instance, "audit") };
  const action = "TestBroker";
  const facts = { action, tenant: "", resource: "", generation: 0, outcome: "success", reason: "" } as const;
  const acknowledged = new Set<string>();
  let isOver = false;
  const append = async (): Promise<void> => {
    const sink = createAuditClient({ peer, tls });
    while (!isOver) {
      const entry = ownOutcome(facts);
      await sink.append(entry);
      acknowledged.add(entry.eventId);
    }
  };
  const running = Promise.all(Array.from({ length: writers }, append));
  for (let round = 0; round < restarts; round += 1) {
    const target = acknowledged.size + perRestart;
    await stack.restart("nats");
    await eventually("more records", 60_000, async () => (acknowledged.size >= target ? true : undefined));
  }
  isOver = true;
  await running;

  const found: string[] = [];
  let pageToken = "";
  do {
    const { records, page } = await clients.audit.queryRecords({ action, page: { pageSize: 500, pageToken } });
    found.push(...records.map(({ draft }) => draft?.eventId ?? ""));
    pageToken = page?.nextPageToken ?? "";
  } while (pageToken !== "");
  const present = new Set(found);
  const lost = [...acknowledged].filter((id) => !present.has(id));
  const doubled = found.length - present.size;
  context.diagnostic(`${acknowledged.size} acknowledged, ${found.length} found, ${lost.length} lost, ${doubled} twice`);
  assert.deepEqual({ lost, doubled }, { lost: [], doubled: 0 });

  const { checkpointVerifierPath, witnessDir } = instanceFiles(stack.instance);
  const given = [
    "--log",
    `${stack.instance.stateDir}/audit`,
    "--key",
    checkpointVerifierPath,
    "--checkpoints",
    witnessDir,
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, [verifier, ...given], { encoding: "utf8" });
  assert.equal(status, 0, `${stdout}${stderr}`);
});
