import { readFileSync, statSync } from "node:fs";
import { z } from "zod";
import type { Role } from "./caller.ts";
import type { Logger } from "./logger.ts";

const maxRolesBytes = 1024 * 1024;
const checkIntervalMs = 1000;

const rolesSchema = z.record(z.string().startsWith("spiffe://").max(256), z.enum(["operator", "viewer", "owner"]));

/** The roles in force now. */
export type RoleTable = () => ReadonlyMap<string, Role>;

/**
 * Reads the roles file (`{"spiffe://<domain>/client/<name>": "operator"}`) and follows it: a change counts within a second,
 * so a role is taken away without a restart. A file that became unreadable or wrong keeps the roles read last, with an
 * error in the log: losing every operator at the moment of a typo would also lose the way to stop a tenant. Throws if the
 * first read fails.
 */
export function openRoles(path: string, logger: Logger, nowMs: () => number = Date.now): RoleTable {
  let current = readRoles(path);
  let checkedMs = nowMs();
  return () => {
    const now = nowMs();
    if (now - checkedMs < checkIntervalMs) return current.roles;
    checkedMs = now;
    try {
      if (stamp(path) !== current.stamp) current = readRoles(path);
    } catch (error) {
      logger.error({ err: error, path }, "roles file is not usable, keeping the roles read before");
    }
    return current.roles;
  };
}

function readRoles(path: string): { stamp: string; roles: ReadonlyMap<string, Role> } {
  if (statSync(path).size > maxRolesBytes) throw new RangeError(`${path} is larger than ${maxRolesBytes} bytes`);
  const before = stamp(path);
  const roles = new Map(Object.entries(rolesSchema.parse(JSON.parse(readFileSync(path, "utf8")))));
  return { stamp: before, roles };
}

function stamp(path: string): string {
  const { ino, size, mtimeNs } = statSync(path, { bigint: true });
  return `${ino}:${size}:${mtimeNs}`;
}
