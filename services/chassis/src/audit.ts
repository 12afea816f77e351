import type { DatabaseSync } from "node:sqlite";
import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { uuidv7 } from "uuidv7";
import type { OpenCalls } from "./audit-open-calls.ts";
import { nextNumber, recordDraft } from "./audit-record.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import { createServiceClient, type Peer } from "./client.ts";
import { reasonOf } from "./errors.ts";
import { every } from "./lifecycle.ts";
import type { TlsFiles } from "./listener.ts";
import type { Logger } from "./logger.ts";
import { currentTraceId } from "./tracing.ts";

const appendTimeoutMs = 2000;
const deliverIntervalMs = 1000;
const maxSpoolBytes = 256 * 1024 * 1024;
const deliverBatch = 100;

/** Something happened, or is about to. Values that do not fit a field's form are left out when it is recorded. */
export interface AuditEntry {
  /** UUIDv7, chosen by the writer; appending it again is one record. */
  readonly eventId: string;
  readonly time: Date;
  /** SPIFFE URI of the verified caller, or `""` when the service acts by itself. */
  readonly actor: string;
  /** SPIFFE URI of the person that the actor, a service, called for by its own word, or `""`. */
  readonly onBehalfOf: string;
  /** The RPC or a named internal action, such as `SpawnTenant`. */
  readonly action: string;
  readonly tenant: string;
  readonly resource: string;
  readonly phase: "intent" | "outcome";
  readonly outcome: "unspecified" | "success" | "failure" | "refused" | "unknown";
  readonly reason: string;
  /** Lower-case hexadecimal SHA-256 of the request without its secrets, or `""`. */
  readonly requestDigest: string;
  readonly traceId: string;
  readonly generation: number;
  /** One run of the process, and the place of this record among those of that run, from 1. */
  readonly writerBootId: string;
  readonly writerSequence: number;
}

export interface AuditSink {
  /** Resolves when the record is durable; safe to repeat with the same `eventId`. */
  append(record: AuditEntry): Promise<void>;
}

/** The OUTCOME of something that this service did by itself: it has no caller and no request. */
export function ownOutcome(
  facts: Pick<AuditEntry, "action" | "tenant" | "resource" | "generation" | "outcome" | "reason">,
): AuditEntry {
  const own = { actor: "", onBehalfOf: "", requestDigest: "", traceId: currentTraceId(), ...nextNumber() };
  return { ...facts, ...own, eventId: uuidv7(), time: new Date(), phase: "outcome" };
}

/** The OUTCOME of a difference between what is and what is wanted that this service undid by itself; `object` is what was different. */
export function driftRepair(kind: string, object: string): AuditEntry {
  // The log's own alphabet; what does not fit it is written as a hyphen.
  const resource = `${kind}:${object}`.replaceAll(/[^A-Za-z0-9._:/-]+/g, "-").slice(0, 128);
  return ownOutcome({ action: "RepairDrift", tenant: "", resource, generation: 0, outcome: "success", reason: "" });
}

/** Records that this run of the service began, and registers the record that it ended: a start after a start without it is a crash. */
export function recordRuns(spool: AuditSpool, scope: { onClose(close: () => void): void }, logger: Logger): void {
  const record = (action: "StartService" | "StopService"): void => {
    try {
      spool.enqueue(ownOutcome({ action, tenant: "", resource: "", generation: 0, outcome: "success", reason: "" }));
    } catch (error) {
      logger.error({ err: error, action }, "audit record of a run could not be kept");
    }
  };
  record("StartService");
  scope.onClose(() => record("StopService"));
}

/** What an audited request acts on. */
export interface AuditTarget {
  readonly tenant: string;
  readonly resource: string;
  readonly generation?: number;
}

export interface AuditRule {
  /** Widening gives rights or reach and fails without audit; narrowing takes them away and never waits for it. */
  readonly kind: "widening" | "narrowing";
  /**
   * Where the OUTCOME is when the call is answered: in audit if it takes it, by default; or in the spool, which is as durable and
   * hands it on at once. For calls that another service waits for in the middle of a recorded call of its own.
   */
  readonly outcome?: "audit" | "spool";
  /** Method syntax, so that a rule may name the request type of its method. */
  describe(request: Message): AuditTarget;
}

export interface AuditPolicy {
  readonly sink: AuditSink;
  /** Durable and local: takes what `sink` did not. */
  readonly spool: AuditSink;
  /** Closes, at the next start, what this run leaves without OUTCOME. */
  readonly openCalls?: OpenCalls;
  /** By proto name of the method: `SpawnTenant`. What kind a method has is declared in its proto. */
  readonly methods: Readonly<Record<string, AuditRule>>;
}

/** A sink that calls the audit service. Rejects at once when audit is away and within 2 s when it does not answer. */
export function createAuditClient(options: {
  readonly peer: Peer;
  readonly tls: TlsFiles & { readonly trustDomain: string };
  readonly serviceVersion?: string;
}): AuditSink {
  const client = createServiceClient(AuditService, options.peer, options.tls, {
    timeoutMs: appendTimeoutMs,
    // Whether waiting for audit is right depends on the call that is recorded: the interceptor decides.
    retry: false,
  });
  return {
    async append(entry) {
      await client.appendRecord({ record: recordDraft(entry, options.serviceVersion ?? "") });
    },
  };
}

/** A durable queue in front of a sink. */
export interface AuditSpool extends AuditSink {
  /** Like `append`, and durable on return; inside a transaction of its database, with it. Throws if the spool is full. */
  enqueue(entry: AuditEntry): void;
  /** Sends what is queued, oldest first, until the sink fails; resolves with the number sent. */
  deliver(): Promise<number>;
  /** Stops delivery in the background. What is queued stays for the next start. */
  close(): void;
}

/**
 * Opens the spool in the service's own database; it makes its own tables. Records are delivered when they come and then every second, in
 * order. When audit does not take one, a record `MarkAuditGap` is put in front of all that wait, so that who reads the log sees where records come
 * late. One that audit refuses as invalid is kept, marked and logged, and does not hold up those behind it. `append` rejects beyond 256 MiB.
 */
export function openAuditSpool(
  database: DatabaseSync,
  sink: AuditSink,
  logger: Logger,
  limitBytes = maxSpoolBytes,
): AuditSpool {
  const store = openSpoolStore(database);
  const closing = new AbortController();
  const gauges = showSpool(store);
  let running: Promise<number> | undefined;

  /** Sends one record and returns true if it left the spool. */
  async function send({ sequence, entry, bytes }: Spooled): Promise<boolean> {
    try {
      await sink.append(entry);
    } catch (error) {
      if (ConnectError.from(error).code !== Code.InvalidArgument) throw error;
      if (closing.signal.aborted) return false;
      // A call that was thought to be open had its outcome after all.
      if (entry.outcome === "unknown" && reasonOf(error) === "EVENT_ID_REUSED") store.remove(sequence, bytes);
      else {
        logger.error({ err: error, record: entry }, "audit refused a spooled record");
        store.refuse(sequence);
      }
      return false;
    }
    // The database may have been closed while the sink was answering; the record is sent again then, and is one record.
    if (closing.signal.aborted) return false;
    store.remove(sequence, bytes);
    return true;
  }

  async function sendGap(): Promise<void> {
    const gap = store.gap();
    if (gap === undefined) return;
    await sink.append(gap);
    if (!closing.signal.aborted) store.endGap();
  }

  /** Nothing comes between finding the spool empty and the end of `running`: a record that comes then begins the next run. */
  async function drain(): Promise<number> {
    let delivered = 0;
    try {
      while (!closing.signal.aborted) {
        const rows = store.oldest();
        if (rows.length === 0) break;
        await sendGap();
        for (const row of rows) {
          if (closing.signal.aborted) return delivered;
          if (await send(row)) delivered += 1;
        }
      }
      return delivered;
    } catch (error) {
      if (!closing.signal.aborted) store.beginGap();
      throw error;
    } finally {
      running = undefined;
    }
  }

  const spool: AuditSpool = {
    enqueue(entry) {
      const text = JSON.stringify(entry);
      if (store.bytes() + text.length > limitBytes) throw new Error(`audit spool is full: ${limitBytes} bytes wait`);
      store.add(entry.eventId, text);
      void deliverQuietly();
    },
    append: async (entry) => spool.enqueue(entry),
    deliver() {
      running ??= Promise.resolve().then(drain);
      return running;
    },
    close: () => {
      closing.abort();
      for (const gauge of gauges) gauge[Symbol.dispose]();
    },
  };
  const deliverQuietly = async () => {
    await spool
      .deliver()
      .catch((error: unknown) => logger.debug({ err: error }, "audit is away, records stay spooled"));
  };
  every(deliverIntervalMs, "deliver audit spool", deliverQuietly, { signal: closing.signal, logger });
  return spool;
}

/** What waits, for the metrics. */
function showSpool(store: ReturnType<typeof openSpoolStore>): readonly Disposable[] {
  const { spoolRecords, spoolSize, spoolAge } = chassisMetrics;
  return [
    spoolRecords.observe(() => {
      const { waiting, refused } = store.counts();
      return [
        [waiting, { state: "waiting" }],
        [refused, { state: "refused" }],
      ];
    }),
    spoolSize.observe(() => store.bytes()),
    spoolAge.observe(() => {
      const [oldest] = store.oldest(1);
      return oldest === undefined ? 0 : Math.max(0, Date.now() - oldest.entry.time.getTime()) / 1000;
    }),
  ];
}

type Spooled = { readonly sequence: number; readonly entry: AuditEntry; readonly bytes: number };

function openSpoolStore(database: DatabaseSync) {
  database.exec(`CREATE TABLE IF NOT EXISTS chassis_audit_spool (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, entry TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE IF NOT EXISTS chassis_audit_gap (id INTEGER PRIMARY KEY CHECK (id = 1), entry TEXT NOT NULL) STRICT`);
  const insert = database.prepare("INSERT OR IGNORE INTO chassis_audit_spool (event_id, entry) VALUES (?, ?)");
  const oldest = database.prepare(
    "SELECT sequence, entry FROM chassis_audit_spool WHERE refused = 0 ORDER BY sequence LIMIT ?",
  );
  const counts = database.prepare(
    "SELECT count(*) FILTER (WHERE refused = 0) AS waiting, coalesce(sum(refused), 0) AS refused FROM chassis_audit_spool",
  );
  const remove = database.prepare("DELETE FROM chassis_audit_spool WHERE sequence = ?");
  const refuse = database.prepare("UPDATE chassis_audit_spool SET refused = 1 WHERE sequence = ?");
  const gap = database.prepare("SELECT entry FROM chassis_audit_gap");
  const beginGap = database.prepare("INSERT OR IGNORE INTO chassis_audit_gap (id, entry) VALUES (1, ?)");
  const endGap = database.prepare("DELETE FROM chassis_audit_gap");
  const total = database.prepare("SELECT coalesce(sum(length(entry)), 0) AS bytes FROM chassis_audit_spool").get();
  // Counted here: the sum over a full spool takes longer than a call may wait. A transaction that is rolled back leaves it too high, and so safe.
  let bytes = Number(total?.bytes ?? 0);
  return {
    bytes: () => bytes,
    add(eventId: string, text: string): void {
      if (insert.run(eventId, text).changes > 0) bytes += text.length;
    },
    counts(): { waiting: number; refused: number } {
      const row = counts.get();
      return { waiting: Number(row?.waiting ?? 0), refused: Number(row?.refused ?? 0) };
    },
    oldest: (most = deliverBatch): Spooled[] =>
      oldest.all(most).map(({ sequence, entry }) => {
        const text = String(entry);
        return { sequence: Number(sequence), entry: fromJson(text), bytes: text.length };
      }),
    remove(sequence: number, length: number): void {
      remove.run(sequence);
      bytes -= length;
    },
    refuse: (sequence: number): void => void refuse.run(sequence),
    gap(): AuditEntry | undefined {
      const row = gap.get();
      return row === undefined ? undefined : fromJson(String(row.entry));
    },
    beginGap(): void {
      if (gap.get() !== undefined) return;
      const what = { action: "MarkAuditGap", tenant: "", resource: "spool", generation: 0 };
      beginGap.run(JSON.stringify(ownOutcome({ ...what, outcome: "failure", reason: "AUDIT_UNAVAILABLE" })));
    },
    endGap: (): void => void endGap.run(),
  };
}

function fromJson(text: string): AuditEntry {
  const entry = JSON.parse(text) as Omit<AuditEntry, "time"> & { readonly time: string };
  // A spool outlives the program that filled it: what an earlier one did not know is empty.
  const added = { onBehalfOf: "", writerBootId: "", writerSequence: 0 };
  return { ...added, ...entry, time: new Date(entry.time) };
}
