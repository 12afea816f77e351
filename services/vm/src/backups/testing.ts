/** A host in memory with one running tenant that has something on its disk. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { createFakeHost, type FakeHost } from "../lifecycle/fake-host.ts";
import { type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import type { Step } from "../lifecycle/journal.ts";
import { migrations } from "../store/schema.ts";

export type Run = ReturnType<typeof startRun>;

export const memory = () => openDatabase(":memory:", migrations);
export const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
export const onDisk = "what the tenant wrote";

/** The smallest disk that there is: it passes through the real sealing. */
export const small = { resources: { vcpuCount: 0, memoryMib: 0, diskMib: 64 } };

export async function openSubject(
  options: RunOptions = {},
  host: FakeHost = createFakeHost(),
  database: DatabaseSync = memory(),
) {
  const run = startRun(host, database, options);
  const { vmId } = await run.operations.spawn({ ...wish("demo"), ...small, labels: { plan: "paid" } });
  host.vmm.writeDiskText(vmId, onDisk);
  host.vmm.writeMemory(vmId, "canary-in-memory");
  return { host, database, run, vmId };
}

export const create = ({ backups }: Run, requestId = randomUUID()) => backups.create(requestId, "demo");
export const list = ({ backups }: Run) => backups.list("demo", Number.MAX_SAFE_INTEGER, 100).backups;
export const restore = ({ backups }: Run, name: string, backupId: string, requestId = randomUUID()) =>
  backups.restore(requestId, name, backupId);
export const suspend = ({ operations }: Run) => operations.suspend(randomUUID(), "demo");

export function backupFilesOf(host: FakeHost): readonly string[] {
  const directory = join(host.directory, "backups");
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

/** Fails unless the tenant runs as before: awake, with its memory, under its generation, with nothing under way. */
export function requireRunning(host: FakeHost, run: Run, vmId: string, generation = 1): void {
  assert.deepEqual(run.journal.open(), []);
  assert.equal(run.tenants.find("demo")?.phase, "running");
  assert.ok(host.vmm.guestRuns(vmId));
  assert.equal(host.vmm.memory(vmId), "canary-in-memory");
  assert.deepEqual(host.guests.get(vmId), { generation, isQuiesced: false });
}

/** Runs until `step` is at `moment`, and never goes on from there. */
export function dyingAt(moment: "started" | "done", step: Step) {
  const reached = Promise.withResolvers<void>();
  const observe = async (at: "started" | "done", name: Step) => {
    if (at !== moment || name !== step) return;
    reached.resolve();
    await new Promise(() => undefined);
  };
  return { reached: reached.promise, observe };
}

export const failingAt = (moment: "started" | "done", step: Step) => async (at: "started" | "done", name: Step) => {
  if (at === moment && name === step) throw new Error("told to fail");
};

/** Waits at `step` until it is let go on. */
export function holdingAt(step: Step) {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const observe = async (at: "started" | "done", name: Step) => {
    if (at !== "started" || name !== step) return;
    reached.resolve();
    await go.promise;
  };
  return { reached: reached.promise, goOn: go.resolve, observe };
}
