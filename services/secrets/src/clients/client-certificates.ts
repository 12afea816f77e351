/**
 * Certificates of viewers and owners (ADR 0047).
 *
 *  1. What counts is in the store; the list that services read is written from it before a change is committed, and at each start.
 *  2. A name that has or had a role from the platform is the platform's, and a name that was revoked is its former client's: whoever has a name owns
 *     the tenants that were spawned for it.
 *  3. There are at most 1,000 that count, so that the list fits what its readers read.
 */
import type { DatabaseSync } from "node:sqlite";
import type { RoleTable } from "@lobsterd/chassis/roles.ts";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { fail } from "../errors.ts";
import { requestedKey } from "./certificate-request.ts";
import { type ClientAuthority, type ClientLeaf, clientUri } from "./client-authority.ts";
import type { ClientRecord, ClientStore } from "./client-store.ts";
import { publishList } from "./published-list.ts";

const maxCertificates = 1000;
const defaultDays = 90;

export interface ClientCertificates {
  /**
   * `lifetimeDays` 0 is 90 days. `reissue` says that the client is the one that had the name when it was revoked. Throws CSR_REFUSED, CLIENT_NAME_TAKEN,
   * CLIENT_NAME_REVOKED or CLIENT_CERTIFICATE_LIMIT.
   */
  issue(request: {
    readonly name: string;
    readonly role: ClientRecord["role"];
    readonly csrPem: string;
    readonly lifetimeDays: number;
    readonly reissue: boolean;
  }): Promise<{ readonly client: ClientRecord; readonly certificatePem: ClientLeaf["certificatePem"] }>;
  /** Ends one certificate of a name, or all and the name with an empty serial number; returns theirs. Throws CLIENT_CERTIFICATE_NOT_FOUND. */
  revoke(name: string, serialNumber: string): string[];
  list(afterKey: string, limit: number): ClientRecord[];
}

export function openClientCertificates(parts: {
  readonly database: DatabaseSync;
  readonly store: ClientStore;
  readonly authority: ClientAuthority;
  readonly roles: RoleTable;
  readonly trustDomain: string;
  readonly listPath: string;
  readonly now: () => number;
}): ClientCertificates {
  const { database, store, authority, roles, trustDomain, listPath, now } = parts;
  const publish = () => publishList(listPath, trustDomain, store.list("", maxCertificates));
  // What was committed and not renamed, or the other way round, when a run ended.
  publish();

  return {
    async issue({ name, role, csrPem, lifetimeDays, reissue }) {
      const publicKey = await requestedKey(csrPem);
      const issueTimeMs = now();
      const leaf = await authority.certify(name, publicKey, lifetimeDays || defaultDays, issueTimeMs);
      const { serialNumber, expireTimeMs, certificatePem } = leaf;
      const client = { name, role, serialNumber, issueTimeMs, expireTimeMs };
      transaction(database, () => {
        store.removeExpired(issueTimeMs);
        if (roles().has(clientUri(trustDomain, name)))
          throw fail("CLIENT_NAME_TAKEN", `${name} is a client that root issued`, { metadata: { name } });
        if (store.isRevoked(name) && !reissue)
          throw fail("CLIENT_NAME_REVOKED", `${name} was revoked: its tenants would be this client's`, {
            metadata: { name },
          });
        if (store.count() >= maxCertificates)
          throw fail("CLIENT_CERTIFICATE_LIMIT", `${maxCertificates} client certificates count: revoke some`);
        store.restoreName(name);
        store.insert(client);
        publish();
      });
      return { client, certificatePem };
    },

    revoke: (name, serialNumber) =>
      transaction(database, () => {
        const ended = store.remove(name, serialNumber);
        if (ended.length === 0)
          throw fail("CLIENT_CERTIFICATE_NOT_FOUND", `no such certificate of ${name} counts`, { metadata: { name } });
        if (serialNumber === "") store.revokeName(name, now());
        publish();
        return ended;
      }),

    list: (afterKey, limit) => store.list(afterKey, limit),
  };
}
