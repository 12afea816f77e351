/**
 * Tables of `vm`. A tenant's row, its slot and its journal entry are written in one transaction before the first side effect,
 * so whatever exists on the host can be found from here after a crash.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE tenant (
     name TEXT PRIMARY KEY,
     vm_id TEXT NOT NULL UNIQUE,
     request_id TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('spawning', 'running', 'evicting', 'failed')),
     failure_reason TEXT NOT NULL DEFAULT '',
     slot INTEGER NOT NULL UNIQUE,
     generation INTEGER NOT NULL,
     image TEXT NOT NULL,
     vcpu_count INTEGER NOT NULL,
     memory_mib INTEGER NOT NULL,
     disk_mib INTEGER NOT NULL,
     labels TEXT NOT NULL,
     guest_address TEXT NOT NULL DEFAULT '',
     create_time_ms INTEGER NOT NULL,
     ready_time_ms INTEGER
   ) STRICT;
   CREATE TABLE freed_slot (
     slot INTEGER PRIMARY KEY,
     free_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE operation (
     vm_id TEXT PRIMARY KEY REFERENCES tenant (vm_id) ON DELETE CASCADE,
     kind TEXT NOT NULL CHECK (kind IN ('spawn', 'evict')),
     start_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE operation_step (
     vm_id TEXT NOT NULL REFERENCES operation (vm_id) ON DELETE CASCADE,
     step TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('started', 'done')),
     time_ms INTEGER NOT NULL,
     PRIMARY KEY (vm_id, step)
   ) STRICT`,
  // Tenants of before reach the internet at the host's default rates, which is what they were given.
  `ALTER TABLE tenant ADD COLUMN egress TEXT NOT NULL DEFAULT '{"mode":"internet"}';
   ALTER TABLE tenant ADD COLUMN network_limits TEXT NOT NULL
     DEFAULT '{"sentKbits":0,"receivedKbits":0,"sentPackets":0,"receivedPackets":0}'`,
  "ALTER TABLE tenant ADD COLUMN replaced_egress TEXT",
  `ALTER TABLE operation_step DROP COLUMN state;
   ALTER TABLE operation_step RENAME COLUMN time_ms TO start_time_ms`,
  // Outlives the tenant, so that a request that is repeated never means another tenant of the same name.
  `CREATE TABLE eviction_request (
     sequence INTEGER PRIMARY KEY AUTOINCREMENT,
     request_id TEXT NOT NULL UNIQUE,
     name TEXT NOT NULL,
     vm_id TEXT NOT NULL
   ) STRICT`,
  `ALTER TABLE tenant ADD COLUMN extra_host_names TEXT NOT NULL DEFAULT '[]'`,
  // A CHECK cannot be altered, so the tables are made anew; the rename brings the references along.
  `CREATE TABLE tenant_next (
     name TEXT PRIMARY KEY,
     vm_id TEXT NOT NULL UNIQUE,
     request_id TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('spawning', 'running', 'evicting', 'failed', 'suspending', 'suspended', 'resuming')),
     failure_reason TEXT NOT NULL DEFAULT '',
     slot INTEGER NOT NULL UNIQUE,
     generation INTEGER NOT NULL,
     image TEXT NOT NULL,
     vcpu_count INTEGER NOT NULL,
     memory_mib INTEGER NOT NULL,
     disk_mib INTEGER NOT NULL,
     labels TEXT NOT NULL,
     guest_address TEXT NOT NULL DEFAULT '',
     create_time_ms INTEGER NOT NULL,
     ready_time_ms INTEGER,
     egress TEXT NOT NULL,
     network_limits TEXT NOT NULL,
     replaced_egress TEXT,
     extra_host_names TEXT NOT NULL DEFAULT '[]',
     settled_generation INTEGER NOT NULL,
     seal_counter INTEGER NOT NULL DEFAULT 0,
     sleep_request_id TEXT NOT NULL DEFAULT ''
   ) STRICT;
   INSERT INTO tenant_next (name, vm_id, request_id, state, failure_reason, slot, generation, image, vcpu_count, memory_mib, disk_mib,
       labels, guest_address, create_time_ms, ready_time_ms, egress, network_limits, replaced_egress, extra_host_names,
       settled_generation)
     SELECT name, vm_id, request_id, state, failure_reason, slot, generation, image, vcpu_count, memory_mib, disk_mib,
       labels, guest_address, create_time_ms, ready_time_ms, egress, network_limits, replaced_egress, extra_host_names,
       generation FROM tenant;
   CREATE TABLE operation_next (
     vm_id TEXT PRIMARY KEY REFERENCES tenant_next (vm_id) ON DELETE CASCADE,
     kind TEXT NOT NULL CHECK (kind IN ('spawn', 'evict', 'suspend', 'resume')),
     start_time_ms INTEGER NOT NULL
   ) STRICT;
   INSERT INTO operation_next SELECT vm_id, kind, start_time_ms FROM operation;
   CREATE TABLE operation_step_next (
     vm_id TEXT NOT NULL REFERENCES operation_next (vm_id) ON DELETE CASCADE,
     step TEXT NOT NULL,
     start_time_ms INTEGER NOT NULL,
     PRIMARY KEY (vm_id, step)
   ) STRICT;
   INSERT INTO operation_step_next SELECT vm_id, step, start_time_ms FROM operation_step;
   DROP TABLE operation_step;
   DROP TABLE operation;
   DROP TABLE tenant;
   ALTER TABLE tenant_next RENAME TO tenant;
   ALTER TABLE operation_next RENAME TO operation;
   ALTER TABLE operation_step_next RENAME TO operation_step;
   CREATE TABLE sealed_state (
     vm_id TEXT PRIMARY KEY REFERENCES tenant (vm_id) ON DELETE CASCADE,
     counter INTEGER NOT NULL,
     generation INTEGER NOT NULL,
     wrapped_key BLOB NOT NULL
   ) STRICT`,
  // As above for the operations. A deleted backup is remembered for the request that deleted it.
  `CREATE TABLE operation_next (
     vm_id TEXT PRIMARY KEY REFERENCES tenant (vm_id) ON DELETE CASCADE,
     kind TEXT NOT NULL CHECK (kind IN ('spawn', 'evict', 'suspend', 'resume', 'backup', 'restore', 'replace')),
     start_time_ms INTEGER NOT NULL
   ) STRICT;
   INSERT INTO operation_next SELECT vm_id, kind, start_time_ms FROM operation;
   CREATE TABLE operation_step_next (
     vm_id TEXT NOT NULL REFERENCES operation_next (vm_id) ON DELETE CASCADE,
     step TEXT NOT NULL,
     start_time_ms INTEGER NOT NULL,
     PRIMARY KEY (vm_id, step)
   ) STRICT;
   INSERT INTO operation_step_next SELECT vm_id, step, start_time_ms FROM operation_step;
   DROP TABLE operation_step;
   DROP TABLE operation;
   ALTER TABLE operation_next RENAME TO operation;
   ALTER TABLE operation_step_next RENAME TO operation_step;
   CREATE TABLE backup (
     sequence INTEGER PRIMARY KEY AUTOINCREMENT,
     backup_id TEXT NOT NULL,
     vm_id TEXT NOT NULL REFERENCES tenant (vm_id) ON DELETE CASCADE,
     request_id TEXT NOT NULL UNIQUE,
     counter INTEGER NOT NULL,
     generation INTEGER NOT NULL,
     disk_mib INTEGER NOT NULL,
     size_bytes INTEGER NOT NULL,
     create_time_ms INTEGER NOT NULL,
     add_time_ms INTEGER NOT NULL,
     delete_request_id TEXT
   ) STRICT;
   CREATE UNIQUE INDEX backup_file ON backup (vm_id, counter) WHERE delete_request_id IS NULL`,
  `CREATE TABLE wake (
     vm_id TEXT NOT NULL REFERENCES tenant (vm_id) ON DELETE CASCADE,
     begin_time_ms INTEGER NOT NULL,
     end_time_ms INTEGER
   ) STRICT;
   CREATE INDEX wake_vm_id ON wake (vm_id, begin_time_ms)`,
  `CREATE TABLE hold (
     hold_id TEXT PRIMARY KEY,
     vm_id TEXT NOT NULL REFERENCES tenant (vm_id) ON DELETE CASCADE,
     kind TEXT NOT NULL CHECK (kind IN ('caller', 'stream')),
     expire_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX hold_by_vm ON hold (vm_id)`,
  // Tenants of before were promised that they run until somebody suspends them.
  `ALTER TABLE tenant ADD COLUMN idle_policy TEXT NOT NULL DEFAULT '{"mode":"manual"}';
   ALTER TABLE tenant ADD COLUMN sleep_cause TEXT NOT NULL DEFAULT ''`,
  `ALTER TABLE tenant ADD COLUMN run_time_ms INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE tenant ADD COLUMN wake_time_ms INTEGER;
   ALTER TABLE tenant ADD COLUMN served_through_ms INTEGER NOT NULL DEFAULT 0;
   CREATE INDEX tenant_by_wake_time ON tenant (wake_time_ms) WHERE wake_time_ms IS NOT NULL`,
  `ALTER TABLE tenant ADD COLUMN limits_pending INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE tenant ADD COLUMN next_vcpu_count INTEGER;
   ALTER TABLE tenant ADD COLUMN next_memory_mib INTEGER`,
  `CREATE TABLE host_drain (
     only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
     tenants TEXT NOT NULL CHECK (tenants IN ('suspend', 'keep')),
     reason TEXT NOT NULL,
     start_time_ms INTEGER NOT NULL
   ) STRICT`,
  // A client's name, or nobody's. An eviction keeps whose it was, so that its owner may repeat it.
  `ALTER TABLE tenant ADD COLUMN owner TEXT NOT NULL DEFAULT '';
   CREATE INDEX tenant_owner ON tenant (owner, name);
   ALTER TABLE eviction_request ADD COLUMN owner TEXT NOT NULL DEFAULT ''`,
  // Tenants of before have a plain disk, and no key.
  "ALTER TABLE tenant ADD COLUMN wrapped_disk_key BLOB",
  "ALTER TABLE tenant ADD COLUMN boot_origin TEXT NOT NULL DEFAULT ''",
];
