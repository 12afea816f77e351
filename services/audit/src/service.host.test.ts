import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { Health, HealthCheckResponse_ServingStatus } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { AuditService, RecordDraftSchema, RecordPhase } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { uuidv7 } from "uuidv7";
import { makeSigningKey } from "./signing-key.ts";
import { smallDisk, temporaryDirectory } from "./testing/small-disk.ts";

const trustDomain = "audit.test";
const limits = { timeoutMs: 60_000, intervalMs: 20 };

/** One audit service as a process of its own, its clients, and the way to kill it. */
function openStack(context: TestContext, settings: Record<string, unknown> = {}) {
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
  const checkpointKeyPath = join(directory, "checkpoint.key");
  const { privateKeyPem, verifierKey } = makeSigningKey(`${trustDomain}/audit/test-host`);
  writeFileSync(checkpointKeyPath, privateKeyPem, { mode: 0o600 });
  const witness = join(directory, "witness");
  mkdirSync(witness);
  const own = { checkpointKeyPath, witness: { directory: witness } };
  const common = { service: "audit", hostId: "test-host", trustDomain, listen: { unixPath }, stateDir, rolesPath };
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
    ...{ witness, verifierKey },
    kill,
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
      const main = new URL("main.ts", import.meta.url).pathname;
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

function draft(number: number) {
  return create(RecordDraftSchema, {
    ...{ eventId: uuidv7(), time: timestampNow(), action: "SpawnTenant", tenant: `tenant-${number}` },
    phase: RecordPhase.INTENT,
  });
}

async function everyEventId(operator: ReturnType<typeof openStack>["operator"]): Promise<string[]> {
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

describe("audit as a process", () => {
  it("loses no acknowledged record through ten kill -9 under load from 8 writers", async (context) => {
    const stack = openStack(context);
    const acknowledged = new Map<string, bigint>();
    let answers = 0;
    for (let round = 0; round < 10; round += 1) {
      await stack.start();
      const killed = new AbortController();
      const { signal } = killed;
      const target = answers + 100 + round * 20;
      const append = async (number: number): Promise<void> => {
        const writer = stack.writer();
        while (!signal.aborted) {
          const record = draft(number);
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
    const lost = [...acknowledged].filter(([id, sequence]) => found[Number(sequence)] !== id);
    context.diagnostic(`${acknowledged.size} acknowledged, ${found.length} in the log, ${lost.length} lost`);
    assert.deepEqual(lost, []);
    assert.equal(new Set(found).size, found.length, "a record is there twice");
    assert.ok(acknowledged.size >= 1000);
  });

  it("is not serving and refuses while the disk is below its reserve", async (context) => {
    const stack = openStack(context, { diskReserveMib: 1_048_576 });
    await stack.start();
    const { status } = await stack.health.check({ service: "" });
    assert.equal(status, HealthCheckResponse_ServingStatus.NOT_SERVING);
    await assert.rejects(
      stack.writer().appendRecord({ record: draft(1) }),
      (error) => reasonOf(error) === "DISK_RESERVE",
    );
    assert.deepEqual(await everyEventId(stack.operator), []);
  });

  it("ends when its disk fails under it, and starts again with every acknowledged record", async (context) => {
    const disk = smallDisk(context, 16);
    const stack = openStack(context, { stateDir: disk.path, diskReserveMib: 0 });
    await stack.start();
    const writer = stack.writer();
    const kept = draft(1);
    await writer.appendRecord({ record: kept });
    assert.throws(() => writeFileSync(join(disk.path, "filler"), Buffer.alloc(17 * 1024 * 1024)), /ENOSPC/);
    const refusals: unknown[] = [];
    // The last block of the file still takes a few records after the disk is full.
    for (let number = 2; number < 50 && refusals.length === 0; number += 1) {
      await writer.appendRecord({ record: draft(number) }).catch((error: unknown) => refusals.push(reasonOf(error)));
    }
    assert.equal(await stack.exited(), 1);
    assert.match(stack.log(), /log failed, nothing is accepted any more/);
    disk.grow(64);
    await stack.start();
    assert.equal((await everyEventId(stack.operator))[0], kept.eventId);
    await writer.appendRecord({ record: draft(50) });
  });

  it("does not start on a damaged log and says where it is damaged", async (context) => {
    const stack = openStack(context);
    await stack.start();
    const writer = stack.writer();
    for (let number = 0; number < 5; number += 1) await writer.appendRecord({ record: draft(number) });
    await stack.kill();
    const path = join(stack.stateDir, "records.log");
    const bytes = readFileSync(path);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await assert.rejects(stack.start());
    assert.equal(await stack.exited(), 1);
    assert.match(stack.log(), /log is damaged at byte 32, where record 0 should be/);
  });
});
