import { z } from "zod";
import type { Standing } from "./caller.ts";
import { followFile } from "./followed-file.ts";
import type { Logger } from "./logger.ts";

/** The file: by the URI of a client, what root says of it. */
export const rolesSchema = z.record(
  z.string().startsWith("spiffe://").max(256),
  z.enum(["operator", "viewer", "owner", "revoked"]),
);

/** The roles in force now. A name that root revoked has none, and stays root's. */
export type RoleTable = () => ReadonlyMap<string, Standing>;

/**
 * Follows the roles file (`{"spiffe://<domain>/client/<name>": "operator"}`), so a role is taken away without a restart. One that became
 * wrong keeps the roles read last: losing every operator at the moment of a typo would also lose the way to stop a tenant. Throws if the
 * first read fails.
 */
export function openRoles(path: string, logger: Logger, nowMs: () => number = Date.now): RoleTable {
  return followFile(path, "roles", (json) => new Map(Object.entries(rolesSchema.parse(json))), logger, nowMs);
}
