import type { DatabaseSync } from "node:sqlite";
import type { SealedValue } from "../envelope/sealed-value.ts";
import { decodeTarget, encodeTarget, type Target } from "../sealed/targets.ts";
import { integer, optionalText, type Row, sealedValue, text } from "./rows.ts";

/** Tenants with this label get a shared secret. */
export interface Label {
  readonly key: string;
  readonly value: string;
}

/** What may be known about a secret. */
export interface SecretRecord {
  /** Empty for a shared secret, which belongs to the platform. */
  readonly tenant: string;
  readonly name: string;
  readonly version: number;
  readonly target: Target | undefined;
  /** Of a bound shared secret. */
  readonly label: Label | undefined;
  readonly createTimeMs: number;
  readonly updateTimeMs: number;
}

/** A secret that goes into guests. */
export interface BoundSecret extends SecretRecord {
  readonly target: Target;
  readonly boxBytes: number;
}

/** The sealed secrets. Every method takes their owner first, a tenant or `""`, and reads nothing of another one. */
export interface SecretStore {
  find(tenant: string, name: string): SecretRecord | undefined;
  /** At most `limit` secrets of the tenant whose name comes after `afterName`, by name. */
  list(tenant: string, afterName: string, limit: number): SecretRecord[];
  /** How many secrets the tenant has, how many are bound, and the bytes of their boxes. */
  usage(tenant: string): { count: number; boundCount: number; boxBytes: number };
  /** Replaces the sealed value, so that no older version's ciphertext is kept. The binding stays. */
  write(record: { tenant: string; name: string; version: number }, sealed: SealedValue, nowMs: number): SecretRecord;
  bind(
    secret: { tenant: string; name: string; target: Target; label: Label | undefined },
    nowMs: number,
  ): SecretRecord | undefined;
  /** Bound secrets by name, without their values. */
  listBound(tenant: string): BoundSecret[];
  findSealed(tenant: string, name: string): SealedValue | undefined;
  /** True if there was one. */
  delete(tenant: string, name: string): boolean;
  findToken(tenant: string): SealedValue | undefined;
  /** Of a token that nobody was told yet. */
  writeToken(tenant: string, sealed: SealedValue, nowMs: number): void;
  markTokenTold(tenant: string): void;
  /** True if the tenant has a secret, or a token that somebody was told. */
  isMissed(tenant: string): boolean;
  deleteTenant(tenant: string): void;
}

const columns = "tenant, name, version, target, label_key, label_value, create_time_ms, update_time_ms";

export function openSecretStore(database: DatabaseSync): SecretStore {
  const find = database.prepare(`SELECT ${columns} FROM secret WHERE tenant = ? AND name = ?`);
  const list = database.prepare(`SELECT ${columns} FROM secret WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?`);
  const usage = database.prepare(
    `SELECT count(*) AS count, count(target) AS bound_count, ifnull(sum(length(ciphertext)), 0) AS box_bytes
     FROM secret WHERE tenant = ?`,
  );
  const write = database.prepare(
    `INSERT INTO secret (tenant, name, version, tenant_key_id, data_key_id, wrapped_data_key, ciphertext,
       create_time_ms, update_time_ms)
     VALUES (:tenant, :name, :version, :tenantKeyId, :dataKeyId, :wrappedDataKey, :ciphertext, :nowMs, :nowMs)
     ON CONFLICT (tenant, name) DO UPDATE SET version = excluded.version, tenant_key_id = excluded.tenant_key_id,
       data_key_id = excluded.data_key_id, wrapped_data_key = excluded.wrapped_data_key,
       ciphertext = excluded.ciphertext, update_time_ms = excluded.update_time_ms
     RETURNING ${columns}`,
  );
  const bind = database.prepare(
    `UPDATE secret SET target = ?, label_key = ?, label_value = ?, update_time_ms = ? WHERE tenant = ? AND name = ?
     RETURNING ${columns}`,
  );
  const listBound = database.prepare(
    `SELECT ${columns}, length(ciphertext) AS box_bytes FROM secret WHERE tenant = ? AND target IS NOT NULL ORDER BY name`,
  );
  const findSealed = database.prepare("SELECT * FROM secret WHERE tenant = ? AND name = ?");
  const remove = database.prepare("DELETE FROM secret WHERE tenant = ? AND name = ?");
  const findToken = database.prepare("SELECT * FROM gateway_token WHERE tenant = ?");
  const writeToken = database.prepare(
    `INSERT INTO gateway_token (tenant, tenant_key_id, data_key_id, wrapped_data_key, ciphertext, create_time_ms, is_told)
     VALUES (:tenant, :tenantKeyId, :dataKeyId, :wrappedDataKey, :ciphertext, :nowMs, 0)`,
  );
  const markTokenTold = database.prepare("UPDATE gateway_token SET is_told = 1 WHERE tenant = ? AND is_told = 0");
  const missed = database.prepare(
    "SELECT 1 FROM secret WHERE tenant = ?1 UNION ALL SELECT 1 FROM gateway_token WHERE tenant = ?1 AND is_told = 1",
  );
  const deleteSecrets = database.prepare("DELETE FROM secret WHERE tenant = ?");
  const deleteToken = database.prepare("DELETE FROM gateway_token WHERE tenant = ?");

  return {
    find: (tenant, name) => optional(find.get(tenant, name), secretRecord),
    list: (tenant, afterName, limit) => list.all(tenant, afterName, limit).map(secretRecord),
    usage(tenant) {
      const row = usage.get(tenant) ?? {};
      return {
        count: integer(row, "count"),
        boundCount: integer(row, "bound_count"),
        boxBytes: integer(row, "box_bytes"),
      };
    },
    write(record, sealed, nowMs) {
      const row = write.get({ ...record, ...parameters(sealed), nowMs });
      if (row === undefined) throw new Error("an upsert returned no row");
      return secretRecord(row);
    },
    bind({ tenant, name, target, label }, nowMs) {
      const row = bind.get(encodeTarget(target), label?.key ?? null, label?.value ?? null, nowMs, tenant, name);
      return optional(row, secretRecord);
    },
    listBound: (tenant) => listBound.all(tenant).map(boundSecret),
    findSealed: (tenant, name) => optional(findSealed.get(tenant, name), sealedValue),
    delete: (tenant, name) => remove.run(tenant, name).changes === 1,
    findToken: (tenant) => optional(findToken.get(tenant), sealedValue),
    writeToken(tenant, sealed, nowMs) {
      writeToken.run({ tenant, ...parameters(sealed), nowMs });
    },
    markTokenTold: (tenant) => void markTokenTold.run(tenant),
    isMissed: (tenant) => missed.get(tenant) !== undefined,
    deleteTenant(tenant) {
      deleteSecrets.run(tenant);
      deleteToken.run(tenant);
    },
  };
}

function secretRecord(row: Row): SecretRecord {
  const target = optionalText(row, "target");
  const key = optionalText(row, "label_key");
  return {
    tenant: text(row, "tenant"),
    name: text(row, "name"),
    version: integer(row, "version"),
    target: target === undefined ? undefined : decodeTarget(target),
    label: key === undefined ? undefined : { key, value: text(row, "label_value") },
    createTimeMs: integer(row, "create_time_ms"),
    updateTimeMs: integer(row, "update_time_ms"),
  };
}

function boundSecret(row: Row): BoundSecret {
  return { ...secretRecord(row), target: decodeTarget(text(row, "target")), boxBytes: integer(row, "box_bytes") };
}

// Spelled out: a named parameter that the statement does not have is an error in SQLite.
function parameters(sealed: SealedValue) {
  const { tenantKeyId, dataKeyId, wrappedDataKey, ciphertext } = sealed;
  return { tenantKeyId, dataKeyId, wrappedDataKey, ciphertext };
}

function optional<T>(row: Row | undefined, read: (row: Row) => T): T | undefined {
  return row === undefined ? undefined : read(row);
}
