import { closeSync, constants, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { IssuedClient } from "@lobsterd/chassis/client-list.ts";
import { syncDirectory } from "../root-key/sync-directory.ts";
import { clientUri } from "./client-authority.ts";
import type { ClientRecord } from "./client-store.ts";

/** Writes the list of certificates that count, for every service to read: whole and durable before it has its name. */
export function publishList(path: string, trustDomain: string, clients: readonly ClientRecord[]): void {
  const entries = clients.map(({ serialNumber, name, role, expireTimeMs }): [string, IssuedClient] => [
    serialNumber,
    { uri: clientUri(trustDomain, name), role, expireTime: new Date(expireTimeMs).toISOString() },
  ]);
  const draft = `${path}.draft`;
  rmSync(draft, { force: true });
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
  const descriptor = openSync(draft, flags, 0o644);
  try {
    // The umask leaves less.
    fchmodSync(descriptor, 0o644);
    writeFileSync(descriptor, `${JSON.stringify(Object.fromEntries(entries))}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(draft, path);
  syncDirectory(dirname(path));
}
