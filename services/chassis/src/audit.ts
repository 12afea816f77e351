import type { DatabaseSync } from "node:sqlite";
import type { Message, MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  AuditService,
  type RecordDraftSchema,
  RecordOutcome,
  RecordPhase,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { uuidv7 } from "uuidv7";
import { createServiceClient, type Peer } from "./client.ts";
import { every } from "./lifecycle.ts";
import type { TlsFiles } from "./listener.ts";
import type { Logger } from "./logger.ts";
import { currentTraceId } from "./tracing.ts";

const appendTimeoutMs = 2000;
const deliverIntervalMs = 1000;
const maxSpooled = 100_000;
const deliverBatch = 100;

/** Something happened, or is about to. Values that do not fit a field's form are left out when it is recorded. */
export interface AuditEntry {
  /** UUIDv7, chosen by the writer; appending it again is one record. */
  readonly eventId: string;
  readonly time: Date;
  /** SPIFFE URI of the verified caller, or `""` when the service acts by itself. */
  readonly actor: string;
  /** The RPC or a named internal action, such as `SpawnTenant`. */
  readonly action: string;
  readonly tenant: string;
  readonly resource: string;
  readonly phase: "intent" | "outcome";
  readonly outcome: "unspecified" | "success" | "failure" | "refused";
  readonly reason: string;
  /** Lower-case hexadecimal SHA-256 of the request without its secrets, or `""`. */
  readonly requestDigest: string;
  readonly traceId: string;
  readonly generation: number;
}

export interface AuditSink {
  /** Resolves when the record is durable; safe to repeat with the same `eventId`. */
  append(record: AuditEntry): Promise<void>;
}

/** The OUTCOME of something that this service did by itself: it has no caller and no request. */
export function ownOutcome(
  facts: Pick<AuditEntry, "action" | "tenant" | "resource" | "generation" | "outcome" | "reason">,
): AuditEntry {
  const own = { actor: "", requestDigest: "", traceId: currentTraceId() };
  return { ...facts, ...own, eventId: uuidv7(), time: new Date(), phase: "outcome" };
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
  /** By proto name of the method: `SpawnTenant`. */
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
  /** Sends what is queued, oldest first, until the sink fails; resolves with the number sent. */
  deliver(): Promise<number>;
  /** Stops delivery in the background. What is queued stays for the next start. */
  close(): void;
}

/**
 * Opens the spool in the service's own database; it makes its own table. Records are delivered when they come and then every second, in
 * order. One that audit refuses as invalid is kept, marked and logged, and does not hold up those behind it. `append` rejects beyond 100,000 records.
 */
export function openAuditSpool(database: DatabaseSync, sink: AuditSink, logger: Logger): AuditSpool {
  database.exec(`CREATE TABLE IF NOT EXISTS chassis_audit_spool (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, entry TEXT NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0
  ) STRICT`);
  const count = database.prepare("SELECT count(*) AS waiting FROM chassis_audit_spool");
  const insert = database.prepare("INSERT OR IGNORE INTO chassis_audit_spool (event_id, entry) VALUES (?, ?)");
  const oldest = database.prepare(
    "SELECT sequence, entry FROM chassis_audit_spool WHERE refused = 0 ORDER BY sequence LIMIT ?",
  );
  const remove = database.prepare("DELETE FROM chassis_audit_spool WHERE sequence = ?");
  const refuse = database.prepare("UPDATE chassis_audit_spool SET refused = 1 WHERE sequence = ?");
  const closing = new AbortController();
  let running: Promise<number> | undefined;

  /** Sends one record and returns true if it left the spool. */
  async function send(sequence: number, entry: AuditEntry): Promise<boolean> {
    try {
      await sink.append(entry);
    } catch (error) {
      if (ConnectError.from(error).code !== Code.InvalidArgument) throw error;
      logger.error({ err: error, record: entry }, "audit refused a spooled record");
      if (!closing.signal.aborted) refuse.run(sequence);
      return false;
    }
    // The database may have been closed while the sink was answering; the record is sent again then, and is one record.
    if (closing.signal.aborted) return false;
    remove.run(sequence);
    return true;
  }

  /** Nothing comes between finding the spool empty and the end of `running`: a record that comes then begins the next run. */
  async function drain(): Promise<number> {
    let delivered = 0;
    try {
      while (!closing.signal.aborted) {
        const rows = oldest.all(deliverBatch);
        if (rows.length === 0) break;
        for (const row of rows) {
          if (closing.signal.aborted) return delivered;
          if (await send(Number(row.sequence), fromJson(String(row.entry)))) delivered += 1;
        }
      }
      return delivered;
    } finally {
      running = undefined;
    }
  }

  const spool: AuditSpool = {
    async append(entry) {
      if (Number(count.get()?.waiting ?? 0) >= maxSpooled) throw new Error("audit spool is full");
      insert.run(entry.eventId, JSON.stringify(entry));
      void deliverQuietly();
    },
    deliver() {
      running ??= Promise.resolve().then(drain);
      return running;
    },
    close: () => closing.abort(),
  };
  const deliverQuietly = async () => {
    await spool
      .deliver()
      .catch((error: unknown) => logger.debug({ err: error }, "audit is away, records stay spooled"));
  };
  every(deliverIntervalMs, "deliver audit spool", deliverQuietly, { signal: closing.signal, logger });
  return spool;
}

function fromJson(text: string): AuditEntry {
  const entry = JSON.parse(text) as Omit<AuditEntry, "time"> & { readonly time: string };
  return { ...entry, time: new Date(entry.time) };
}

/** The wire form. A value outside a field's form came from an unchecked request; it is left out rather than losing the record. */
export function recordDraft(entry: AuditEntry, serviceVersion: string): MessageInitShape<typeof RecordDraftSchema> {
  const keep = (value: string, form: RegExp) => (form.test(value) ? value : "");
  return {
    eventId: entry.eventId,
    time: timestampFromDate(entry.time),
    actor: keep(entry.actor, /^spiffe:\/\/[a-z0-9./-]{1,240}$/),
    action: entry.action,
    tenant: keep(entry.tenant, /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/),
    resource: keep(entry.resource, /^[A-Za-z0-9._:/-]{0,128}$/),
    phase: entry.phase === "intent" ? RecordPhase.INTENT : RecordPhase.OUTCOME,
    outcome: outcomes[entry.outcome],
    reason: keep(entry.reason, /^[A-Z][A-Z0-9_]{0,63}$/),
    requestDigest: keep(entry.requestDigest, /^[0-9a-f]{64}$/),
    traceId: keep(entry.traceId, /^[0-9a-f]{32}$/),
    generation: Number.isInteger(entry.generation) && entry.generation >= 0 ? entry.generation : 0,
    serviceVersion: keep(serviceVersion, /^[A-Za-z0-9.+-]{0,64}$/),
  };
}

const outcomes = {
  unspecified: RecordOutcome.UNSPECIFIED,
  success: RecordOutcome.SUCCESS,
  failure: RecordOutcome.FAILURE,
  refused: RecordOutcome.REFUSED,
} as const;
