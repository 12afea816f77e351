import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { Health } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { AuditService, RecordDraftSchema, RecordPhase } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { uuidv7 } from "uuidv7";
import { makeSigningKey } from "../signing-key.ts";
import { temporaryDirectory } from "./small-disk.ts";

const trustDomain = "audit.test";
const limits = { timeoutMs: 60_000, intervalMs: 20 };

/** One audit service as a process of its own, its clients, and the way to kill it. */
export function openAuditProcess(context: TestContext, settings: Record<string, unknown> = {}) {
  const directory = temporaryDirectory(context);
  const authority = testCertificates(join(directory, "certificates"));
  const leaf = (name: string, path: string) => ({
    ...authority.issue(name, [`spiffe://${trustDomain}/${path}`]),
    platformCaPath: authority.caPath,
  });
  const unixPath = join(directory, "rpc.sock");
  const stateDir = join(directory, "state");
  const logPath = join(directory, "audit.log");
  const rolesPath = join(directory, "roles.json");
  const configPath = join(directory, "audit.json");
  mkdirSync(stateDir, { mode: 0o700 });
  writeFileSync(rolesPath, JSON.stringify({ [`spiffe://${trustDomain}/client/alice`]: "operator" }));
  const revocationsPath = join(directory, "revocations.json");
  writeFileSync(revocationsPath, "{}");
  const checkpointKeyPath = join(directory, "checkpoint.key");
  const { privateKeyPem, verifierKey } = makeSigningKey(`${trustDomain}/audit/test-host`);
  writeFileSync(checkpointKeyPath, privateKeyPem, { mode: 0o600 });
  const witness = join(directory, "witness");
  mkdirSync(witness);
  const own = { checkpointKeyPath, witness: { directory: witness } };
  const files = { stateDir, rolesPath, revocationsPath };
  const common = { service: "audit", hostId: "test-host", trustDomain, listen: { unixPath }, ...files };
  writeFileSync(configPath, JSON.stringify({ ...common, ...own, tls: leaf("audit", "svc/audit"), ...settings }));
  let child: ChildProcess | undefined;
  const peer = { service: "audit", unixPath };
  const vmTls = { ...leaf("vm", "svc/vm"), trustDomain };
  const operatorTls = { ...leaf("alice", "client/alice"), trustDomain };
  const kill = async (): Promise<void> => {
    const running = child;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    running.kill("SIGKILL");
    await once(running, "exit");
  };
  context.after(kill);
  return {
    stateDir,
    kill,
    /** Runs the verifier over the log on disk and the witness's checkpoints. */
    verify(): { status: number | null; output: string } {
      const verifier = new URL("../verify/main.ts", import.meta.url).pathname;
      const given = ["--log", stateDir, "--key", verifierKey.trim(), "--checkpoints", witness];
      const { status, stdout, stderr } = spawnSync(process.execPath, [verifier, ...given], { encoding: "utf8" });
      return { status, output: `${stdout}${stderr}` };
    },
    writer: () => createServiceClient(AuditService, peer, vmTls, { timeoutMs: 20_000 }),
    operator: createServiceClient(AuditService, peer, operatorTls, { timeoutMs: 60_000 }),
    health: createServiceClient(Health, peer, operatorTls),
    log: () => readFileSync(logPath, "utf8"),
    exited: async (): Promise<number | null> => {
      const running = child ?? assert.fail("not started");
      if (running.exitCode === null && running.signalCode === null) await once(running, "exit");
      return running.exitCode;
    },
    async start(): Promise<void> {
      const output = createWriteStream(logPath, { flags: "a" });
      await once(output, "open");
      const main = new URL("../main.ts", import.meta.url).pathname;
      child = spawn(process.execPath, [main, "--config", configPath], { stdio: ["ignore", output, output] });
      output.close();
      const running = child;
      await waitFor(
        "audit to serve",
        async () => {
          assert.equal(running.exitCode, null, `audit ended: ${readFileSync(logPath, "utf8").slice(-2000)}`);
          return this.health.check({ service: "" }).catch(() => undefined);
        },
        limits,
      );
    },
  };
}

/** A record that no other has the event id of. */
export function processDraft(number: number) {
  return create(RecordDraftSchema, {
    ...{ eventId: uuidv7(), time: timestampNow(), action: "SpawnTenant", tenant: `tenant-${number}` },
    phase: RecordPhase.INTENT,
  });
}

/** Event ids of every record, in order of sequence, which has no gap. */
export async function everyEventId(operator: ReturnType<typeof openAuditProcess>["operator"]): Promise<string[]> {
  const ids: string[] = [];
  let pageToken = "";
  do {
    const { records, page } = await operator.queryRecords({ page: { pageSize: 500, pageToken } });
    for (const { sequence, draft: one } of records) {
      assert.equal(sequence, BigInt(ids.length), "sequence has a gap");
      ids.push(one?.eventId ?? "");
    }
    pageToken = page?.nextPageToken ?? "";
  } while (pageToken !== "");
  return ids;
}

/** Kills the process `rounds` times while 8 writers append, and counts what became of the records that it had acknowledged. */
export async function killUnderLoad(
  stack: ReturnType<typeof openAuditProcess>,
  rounds: number,
  perRound: number,
): Promise<{ acknowledged: number; found: number; lost: readonly string[]; doubled: number }> {
  const acknowledged = new Map<string, bigint>();
  let answers = 0;
  for (let round = 0; round < rounds; round += 1) {
    await stack.start();
    const killed = new AbortController();
    const { signal } = killed;
    const target = answers + perRound + round * 20;
    const append = async (number: number): Promise<void> => {
      const writer = stack.writer();
      while (!signal.aborted) {
        const record = processDraft(number);
        try {
          const { sequence } = await writer.appendRecord({ record }, { signal });
          acknowledged.set(record.eventId, sequence);
          answers += 1;
        } catch (error) {
          if (!signal.aborted) assert.equal(reasonOf(error) ?? "none", "none", "a refusal under load");
        }
      }
    };
    const writers = Array.from({ length: 8 }, (_, number) => append(number));
    await waitFor("records", async () => (answers >= target ? true : undefined), limits);
    // The kill comes first: calls are in flight when the process dies, and only then stop being repeated.
    const gone = stack.kill();
    killed.abort();
    await gone;
    await Promise.all(writers);
  }
  await stack.start();
  const found = await everyEventId(stack.operator);
  const lost = [...acknowledged].filter(([id, sequence]) => found[Number(sequence)] !== id).map(([id]) => id);
  return { acknowledged: acknowledged.size, found: found.length, lost, doubled: found.length - new Set(found).size };
}
