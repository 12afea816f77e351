import { AuditLog, type AuditLogOptions, type LogObserver } from "../log/audit-log.ts";
import type { Draft } from "../log/canonical.ts";
import type { LogFile } from "../log/log-file.ts";
import { RecordIndex } from "../log/record-index.ts";
import { createMemoryHashStore } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { SimulatedDisk } from "./simulated-disk.ts";

/** SPIFFE URI of the writer in tests. */
export const writer = "spiffe://lobsterd.test/svc/vm";

/** A draft that differs from that of every other number. */
export function draft(number: number, changes: Partial<Draft> = {}): Draft {
  return {
    eventId: `01939d0e-7f00-7000-8000-${number.toString(16).padStart(12, "0")}`,
    time: { seconds: 1_764_000_000n + BigInt(number), nanos: 5 },
    actor: "spiffe://lobsterd.test/client/alice",
    action: "SpawnTenant",
    tenant: "demo",
    resource: `vm/${number}`,
    phase: 1,
    outcome: 0,
    reason: "",
    requestDigest: "ab".repeat(32),
    traceId: number.toString(16).padStart(32, "0"),
    generation: 1,
    serviceVersion: "0.1.0",
    onBehalfOf: "",
    writerBootId: "0c1c5ad3-f3b1-4d5e-9f6a-5b0d7b0e26a1",
    writerSequence: number,
    ...changes,
  };
}

/** What the log reported, in order. */
export type Reported = { [Name in keyof LogObserver]: Array<Parameters<LogObserver[Name]>> };

/** A log with a clock that stands still unless it is set, its file, and what it reported. */
export type TestLog = {
  readonly log: AuditLog;
  readonly clock: { ms: number };
  readonly reported: Reported;
};

export async function openTestLog(
  file: LogFile = new SimulatedDisk(),
  { grew, ...options }: Partial<AuditLogOptions> & { readonly grew?: (size: number) => void } = {},
): Promise<TestLog> {
  const clock = { ms: 1_764_000_000_000 };
  const reported: Reported = { recovered: [], clockWentBack: [], reserveChanged: [], grew: [], failed: [] };
  let eventNumber = 0;
  const log = await AuditLog.open({
    file,
    index: new RecordIndex(":memory:"),
    tree: new MerkleTree(createMemoryHashStore()),
    self: "spiffe://lobsterd.test/svc/audit",
    bootId: "00000000-0000-4000-8000-000000000001",
    serviceVersion: "0.1.0",
    queueLimit: 1000,
    reserveBytes: 0,
    now: () => clock.ms,
    newEventId: () => {
      eventNumber += 1;
      return `01939d0e-7f00-7000-9000-${String(eventNumber).padStart(12, "0")}`;
    },
    observer: {
      recovered: (...report) => void reported.recovered.push(report),
      clockWentBack: (...report) => void reported.clockWentBack.push(report),
      reserveChanged: (...report) => void reported.reserveChanged.push(report),
      grew: grew ?? ((...report) => void reported.grew.push(report)),
      failed: (...report) => void reported.failed.push(report),
    },
    ...options,
  });
  return { log, clock, reported };
}

/** Every record of a log, as event ids in order of sequence, through as many pages as there are. */
export async function eventIdsOf(log: AuditLog): Promise<string[]> {
  const ids: string[] = [];
  for (let from: number | undefined = 0; from !== undefined; ) {
    const page: Awaited<ReturnType<AuditLog["query"]>> = await log.query({ ...everything, from, limit: 500 });
    for (const { record } of page.records) {
      if (record.sequence !== ids.length) throw new Error(`sequence ${record.sequence} where ${ids.length} is due`);
      ids.push(record.draft.eventId);
    }
    from = page.next;
  }
  return ids;
}

/** Filters that let everything through. */
export const everything = { tenant: "", action: "", actor: "", traceId: "" } as const;

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
