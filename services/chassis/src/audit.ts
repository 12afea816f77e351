import type { Message } from "@bufbuild/protobuf";

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

/** What an audited request acts on. */
export interface AuditTarget {
  readonly tenant: string;
  readonly resource: string;
  readonly generation?: number;
}

export interface AuditRule {
  /** Widening gives rights or reach and fails without audit; narrowing takes them away and never waits for it. */
  readonly kind: "widening" | "narrowing";
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
