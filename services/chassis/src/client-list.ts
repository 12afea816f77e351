import { z } from "zod";
import { followFile } from "./followed-file.ts";
import type { Logger } from "./logger.ts";
import { serialNumberSchema } from "./revocations.ts";

const issuedClientSchema = z.strictObject({
  uri: z.string().startsWith("spiffe://").max(256),
  // Operators are the platform CA's alone: a list that names one counts for nothing.
  role: z.enum(["viewer", "owner"]),
  expireTime: z.iso.datetime(),
});

/** By serial number: every certificate of the clients' authority that counts. One that is not in it is revoked. */
export const clientListSchema = z.record(serialNumberSchema, issuedClientSchema);
export type IssuedClient = Readonly<z.infer<typeof issuedClientSchema>>;
export type IssuedClients = ReadonlyMap<string, IssuedClient>;

/** The certificates of the clients' authority that count now. */
export type ClientTable = () => IssuedClients;

export const noClients: ClientTable = () => new Map();

/**
 * Follows the list that `secrets` writes. Until it could be read once, no certificate of that authority counts, and the service runs all the
 * same: what `secrets` does with its file must not keep others from starting.
 */
export function openClientList(path: string, logger: Logger, nowMs: () => number = Date.now): ClientTable {
  const parse = (json: unknown): IssuedClients => new Map(Object.entries(clientListSchema.parse(json)));
  return followFile(path, "client list", parse, logger, nowMs, noClients());
}
