import { z } from "zod";
import { followFile } from "./followed-file.ts";
import type { Logger } from "./logger.ts";

/** Upper-case hexadecimal without a sign. */
export const serialNumberSchema = z.string().regex(/^[0-9A-F]{1,40}$/);

/** By serial number: whose certificate it was, when it ended, and until when it has to be listed. */
export const revocationsSchema = z.record(
  serialNumberSchema,
  z.strictObject({ uri: z.string().max(256), revokeTime: z.iso.datetime(), expireTime: z.iso.datetime() }),
);

/** Serial numbers of the platform's certificates that are worth nothing any more, now. */
export type RevocationTable = () => ReadonlySet<string>;

/** Follows the revocation list. Throws if the first read fails: a service that knows no revocations must not take them for none. */
export function openRevocations(path: string, logger: Logger, nowMs: () => number = Date.now): RevocationTable {
  return followFile(path, "revocations", (json) => new Set(Object.keys(revocationsSchema.parse(json))), logger, nowMs);
}
