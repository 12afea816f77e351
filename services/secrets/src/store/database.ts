import type { DatabaseSync } from "node:sqlite";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";

const migrations = [
  `CREATE TABLE tenant_key (
     tenant TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, root_key_id TEXT NOT NULL, wrapped BLOB NOT NULL,
     create_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE secret (
     tenant TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, target TEXT,
     tenant_key_id TEXT NOT NULL, data_key_id TEXT NOT NULL, wrapped_data_key BLOB NOT NULL, ciphertext BLOB NOT NULL,
     create_time_ms INTEGER NOT NULL, update_time_ms INTEGER NOT NULL,
     PRIMARY KEY (tenant, name)
   ) STRICT;
   CREATE TABLE gateway_token (
     tenant TEXT PRIMARY KEY, tenant_key_id TEXT NOT NULL, data_key_id TEXT NOT NULL, wrapped_data_key BLOB NOT NULL,
     ciphertext BLOB NOT NULL, create_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE guest_identity (
     vm_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, generation INTEGER NOT NULL, serial TEXT NOT NULL,
     issue_time_ms INTEGER NOT NULL, expire_time_ms INTEGER NOT NULL, lease_expire_time_ms INTEGER NOT NULL,
     inject_time_ms INTEGER
   ) STRICT;
   CREATE INDEX guest_identity_tenant ON guest_identity (tenant);`,
  // A lease of its own: it no longer begins with the identity.
  `ALTER TABLE guest_identity DROP COLUMN lease_expire_time_ms;
   ALTER TABLE guest_identity ADD COLUMN lease_expire_time_ms INTEGER;`,
  // Where secrets go, whose labels a shared one is for, and what a running guest has of them.
  `ALTER TABLE secret ADD COLUMN label_key TEXT;
   ALTER TABLE secret ADD COLUMN label_value TEXT;
   ALTER TABLE guest_identity ADD COLUMN guest_address TEXT;
   ALTER TABLE guest_identity ADD COLUMN labels TEXT;
   CREATE TABLE delivered_secret (
     vm_id TEXT NOT NULL REFERENCES guest_identity (vm_id) ON DELETE CASCADE, owner TEXT NOT NULL, name TEXT NOT NULL,
     version INTEGER NOT NULL, target TEXT NOT NULL, deliver_time_ms INTEGER NOT NULL,
     PRIMARY KEY (vm_id, owner, name)
   ) STRICT;`,
  // What is left to do with the provider: keys to destroy there, and a rotation under way. `event_id` is that of the audit record to come.
  `CREATE TABLE key_destruction (
     tenant_key_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, event_id TEXT NOT NULL, shred_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE root_rotation (
     id INTEGER PRIMARY KEY CHECK (id = 1), previous_root_key_id TEXT NOT NULL, root_key_id TEXT NOT NULL,
     start_time_ms INTEGER NOT NULL
   ) STRICT;`,
  // Whose tenant the guest is: a client's name, or nobody's.
  `ALTER TABLE guest_identity ADD COLUMN tenant_owner TEXT NOT NULL DEFAULT '';`,
  // Certificates of viewers and owners that count.
  `CREATE TABLE client_certificate (
     serial_number TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, issue_time_ms INTEGER NOT NULL,
     expire_time_ms INTEGER NOT NULL
   ) STRICT;`,
  // Names that are not given to anybody new: tenants of theirs may be there.
  `CREATE TABLE revoked_client (name TEXT PRIMARY KEY, revoke_time_ms INTEGER NOT NULL) STRICT;`,
  // Whether a person may have the token, which is then missed by somebody if it goes.
  `ALTER TABLE gateway_token ADD COLUMN is_told INTEGER NOT NULL DEFAULT 1;`,
];

/**
 * Opens the store of this service. What is deleted is overwritten with zeros in its page (`secure_delete`), and rows whose
 * tenant key is gone, left by a crash in the middle of a shred, are deleted.
 */
export function openSecretDatabase(path: string): DatabaseSync {
  const database = openDatabase(path, migrations);
  database.exec("PRAGMA secure_delete = ON");
  database.exec(`
    DELETE FROM secret WHERE tenant_key_id NOT IN (SELECT id FROM tenant_key);
    DELETE FROM gateway_token WHERE tenant_key_id NOT IN (SELECT id FROM tenant_key);`);
  emptyWriteAheadLog(database);
  return database;
}

/**
 * Ends the write-ahead log: it still holds pages from before a deletion. Returns false while a reader keeps it alive; then the next
 * checkpoint ends it.
 */
export function emptyWriteAheadLog(database: DatabaseSync): boolean {
  const row = database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
  return row?.busy === 0;
}
