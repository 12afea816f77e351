import type { DatabaseSync } from "node:sqlite";
import type { AuditEntry, AuditSpool } from "./audit.ts";
import { every } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import { transaction } from "./sqlite.ts";

const forgetIntervalMs = 1000;

/** The recorded calls that have an INTENT and no OUTCOME yet, so that a process that dies in one does not leave it open for ever. */
export interface OpenCalls {
  /** Durable on return. `outcome` is the record that closes the call if nobody else does. Throws if the disk does not take it. */
  begin(outcome: AuditEntry): void;
  /** The record with this event id was kept: the call has its OUTCOME. */
  end(eventId: string): void;
  close(): void;
}

/**
 * Opens the list in the service's own database; it makes its own table. What the run before left open is closed at once: an OUTCOME `unknown` goes
 * to the spool, under the event id that the call's own OUTCOME would have had. If that one was kept after all, audit or the spool knows the
 * id and there is one record. What the service finds out about the call later is a record of its own.
 */
export function openAuditCalls(database: DatabaseSync, spool: AuditSpool, logger: Logger): OpenCalls {
  database.exec(`CREATE TABLE IF NOT EXISTS chassis_audit_open_calls (
    event_id TEXT PRIMARY KEY, outcome TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`);
  const insert = database.prepare("INSERT INTO chassis_audit_open_calls (event_id, outcome) VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM chassis_audit_open_calls WHERE event_id = ?");
  const closing = new AbortController();
  let ended: string[] = [];

  closeLeftOpen(database, spool, logger);
  // Forgetting late is harmless, as above, and so is not worth a commit of its own for each call.
  const forget = (): void => {
    if (ended.length === 0) return;
    const gone = ended;
    ended = [];
    transaction(database, () => {
      for (const eventId of gone) remove.run(eventId);
    });
  };
  every(forgetIntervalMs, "forget closed calls", async () => forget(), { signal: closing.signal, logger });

  return {
    begin(outcome) {
      transaction(database, () => {
        forget();
        insert.run(outcome.eventId, JSON.stringify(outcome));
      });
    },
    end: (eventId) => void ended.push(eventId),
    close() {
      closing.abort();
      forget();
    },
  };
}

function closeLeftOpen(database: DatabaseSync, spool: AuditSpool, logger: Logger): void {
  const rows = database.prepare("SELECT outcome FROM chassis_audit_open_calls ORDER BY event_id").all();
  if (rows.length === 0) return;
  transaction(database, () => {
    for (const row of rows) {
      const entry = JSON.parse(String(row.outcome)) as AuditEntry;
      spool.enqueue({ ...entry, time: new Date() });
    }
    database.exec("DELETE FROM chassis_audit_open_calls");
  });
  logger.warn({ calls: rows.length }, "calls that the last run left open were recorded as unknown");
}
