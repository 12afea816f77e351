import { existsSync, readFileSync } from "node:fs";
import { writePrivate } from "../dev/files.ts";
import { ensureIdentities } from "../dev/identities.ts";
import { installImages } from "../dev/images.ts";
import { ensureCheckpointKey, requireClosedKeys } from "../dev/layout.ts";
import { readAccounts } from "../dev/users.ts";
import { type HostSettings, hostConfigurations } from "./configuration.ts";
import { configDir, describeHost } from "./host-instance.ts";
import { completeKeys } from "./missing-keys.ts";
import { rootKeyCredential, rootKeyPath } from "./units.ts";

/** One has a workload that attacks its host, for tests; the other is for guests that are emulated. */
const developmentImages = ["probe", "openclaw-emulated"];

/**
 * Makes what an installed host needs before its first start: certificates, the audit log's signing key, configurations, and the guest
 * images that `checkout` has built. Safe to repeat; a key or configuration that exists is kept, with what a newer release needs
 * added to the latter; a certificate is made anew when it has
 * less than 30 days left. Throws when the host is not installed.
 */
export async function configureHost(
  settings: HostSettings,
  checkout: string,
  progress: (line: string) => void,
): Promise<void> {
  const instance = describeHost(settings.domain, settings.slotCount);
  const accounts = readAccounts();
  if (!existsSync(`${instance.stateDir}/keys`)) throw new Error(`${instance.stateDir} is not there: make install`);
  for (const name of await ensureIdentities(instance, accounts)) progress(`certificate made: ${name}`);
  requireClosedKeys(instance, accounts);
  ensureCheckpointKey(instance, accounts);
  for (const { name, user, mode, text } of hostConfigurations(settings, accounts)) {
    const path = `${configDir}/${name}`;
    const kept = existsSync(path) ? readFileSync(path, "utf8") : undefined;
    // Roles are people's: one that was taken out is not put in again.
    const completed = kept === undefined || name === "roles.json" ? undefined : completeKeys(kept, text);
    if (kept !== undefined && (completed === undefined || completed.added.length === 0)) {
      progress(`kept: ${path}`);
      continue;
    }
    writePrivate(path, completed?.text ?? text, accounts.account(user), mode);
    progress(completed === undefined ? `written: ${path}` : `kept: ${path}, with ${completed.added.join(", ")} added`);
  }
  for (const image of await installImages({ ...instance, checkout }, developmentImages))
    progress(`guest image installed: ${image}`);
  if (existsSync(rootKeyPath)) return;
  progress(
    `no root key yet: head -c 32 /dev/urandom | systemd-creds encrypt --name=${rootKeyCredential} - ${rootKeyPath}`,
  );
}
