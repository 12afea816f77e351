import type { DatabaseSync } from "node:sqlite";
import { type AuditSink, ownOutcome } from "@lobsterd/chassis/audit.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { SecretEvents } from "../events.ts";
import type { RootKeyProvider } from "../root-key/provider.ts";
import { text } from "../store/rows.ts";

/**
 * Destroys with the provider what was shredded here. A shred is over in this store at once, whether or not the provider can be reached; what
 * is left to do is a row, written with the shred, and done when the provider is back.
 */
export interface KeyDestruction {
  /** Tries what is left to do, or of that one key. Resolves with the number done; never throws for a provider that is away. */
  run(tenantKeyId?: string): Promise<number>;
}

export function openKeyDestruction(parts: {
  database: DatabaseSync;
  provider: RootKeyProvider;
  spool: AuditSink;
  events: SecretEvents;
  logger: Logger;
}): KeyDestruction {
  const { database, provider, spool, events, logger } = parts;
  const list = database.prepare("SELECT tenant_key_id, tenant, event_id FROM key_destruction ORDER BY shred_time_ms");
  const remove = database.prepare("DELETE FROM key_destruction WHERE tenant_key_id = ?");

  async function destroy(tenantKeyId: string, tenant: string, eventId: string): Promise<void> {
    await provider.destroy(tenantKeyId);
    const facts = { action: "KeyDestroyed", tenant, resource: tenantKeyId, generation: 0 } as const;
    // The id was chosen with the shred: after a crash between this line and the next the record is written twice and is one.
    await spool.append({ ...ownOutcome({ ...facts, outcome: "success", reason: "KEY_DESTROYED" }), eventId });
    remove.run(tenantKeyId);
    events.keyDestroyed(tenant, tenantKeyId);
  }

  return {
    async run(tenantKeyId) {
      let done = 0;
      for (const row of list.all()) {
        if (tenantKeyId !== undefined && row.tenant_key_id !== tenantKeyId) continue;
        try {
          await destroy(text(row, "tenant_key_id"), text(row, "tenant"), text(row, "event_id"));
          done += 1;
        } catch (error) {
          logger.warn({ err: error, tenantKeyId: row.tenant_key_id }, "provider did not destroy a key, trying again");
        }
      }
      return done;
    },
  };
}
