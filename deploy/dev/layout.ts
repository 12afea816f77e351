import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { makeSigningKey, originOf } from "@lobsterd/audit/signing-key.ts";
import { brokerConfiguration } from "./broker.ts";
import { keptRoles } from "./clients.ts";
import { run } from "./command.ts";
import { configurations, hostIdOf, instanceFiles } from "./configuration.ts";
import { type Directory, groupId, runDirectories, runnerDirectories, stateDirectories } from "./directories.ts";
import { ensureDirectory, writePrivate, writePublic } from "./files.ts";
import { certificatePaths, ensureIdentities } from "./identities.ts";
import { type Instance, runRoot, stateRoot } from "./instance.ts";
import { requireClosedKey } from "./key-posture.ts";
import { mountsBelow } from "./mounts.ts";
import { configPath, isProcessName, logPath, processSpecs } from "./processes.ts";
import type { Accounts } from "./users.ts";

const root = { uid: 0, gid: 0 };

/** Makes every directory, mount and file that the instance starts from. Safe to repeat; never replaces a key. */
export async function prepareLayout(
  instance: Instance,
  accounts: Accounts,
  progress: (line: string) => void,
): Promise<void> {
  requireReadableCheckout(instance);
  await mountRunDirectory(instance);
  mkdirSync(stateRoot, { recursive: true, mode: 0o755 });
  makeDirectories(
    [...runDirectories(instance), ...runnerDirectories(instance), ...stateDirectories(instance)],
    accounts,
  );
  await mountCheckout(instance);
  const made = await ensureIdentities(instance, accounts);
  requireClosedKeys(instance, accounts);
  if (made.length > 0) progress(`certificates made: ${made.join(", ")}`);
  ensureRootKey(instance, accounts);
  ensureCheckpointKey(instance, accounts);
  writeConfigurations(instance, accounts);
  prepareLogs(instance, accounts);
}

async function mountRunDirectory(instance: Instance): Promise<void> {
  mkdirSync(runRoot, { recursive: true, mode: 0o755 });
  ensureDirectory(runRoot, root, 0o755);
  if (mountsBelow(instance.runDir).includes(instance.runDir)) return;
  ensureDirectory(instance.runDir, root, 0o755);
  const options = "mode=0755,nosuid,nodev,noexec";
  await run(["mount", "-t", "tmpfs", "-o", options, instance.netns, instance.runDir]);
  // Slots are mounted below; a shared mount would copy every one of them into each other mount namespace of the machine.
  await run(["mount", "--make-private", instance.runDir]);
}

async function mountCheckout(instance: Instance): Promise<void> {
  if (mountsBelow(instance.runDir).includes(instance.appDir)) return;
  ensureDirectory(instance.appDir, root, 0o755);
  await run(["mount", "--bind", instance.checkout, instance.appDir]);
  await run(["mount", "-o", "remount,bind,ro,nosuid,nodev", instance.appDir]);
}

function makeDirectories(directories: readonly Directory[], accounts: Accounts): void {
  for (const { path, user, group, mode } of directories) {
    ensureDirectory(path, { uid: accounts.account(user).uid, gid: groupId(accounts, group) }, mode);
  }
}

/** Caddy does not start with a key that others can read or put another in place of. */
export function requireClosedKeys(instance: Instance, accounts: Accounts): void {
  const { leaf } = certificatePaths(instance);
  const { gid } = accounts.account("lobsterd-caddy");
  for (const name of ["web", "caddy"]) requireClosedKey(leaf(name).keyPath, gid);
}

/** 32 random bytes that everything `secrets` stores hangs from; one that exists is kept, or every secret would be lost. */
function ensureRootKey(instance: Instance, accounts: Accounts): void {
  const { rootKeyPath } = instanceFiles(instance);
  if (existsSync(rootKeyPath)) return;
  const key = randomBytes(32);
  writePrivate(rootKeyPath, key, accounts.account("lobsterd-secrets"), 0o400);
  key.fill(0);
}

/** The key that signs the audit log's checkpoints: one that exists is kept, or the log's past could not be verified with it. */
export function ensureCheckpointKey(instance: Instance, accounts: Accounts): void {
  const { checkpointKeyPath, checkpointVerifierPath } = instanceFiles(instance);
  if (existsSync(checkpointKeyPath)) return;
  const origin = originOf({ trustDomain: instance.domain, hostId: hostIdOf(hostname(), instance.name) });
  const { privateKeyPem, verifierKey } = makeSigningKey(origin);
  writePublic(checkpointVerifierPath, verifierKey);
  writePrivate(checkpointKeyPath, privateKeyPem, accounts.account("lobsterd-audit"), 0o600);
}

function writeConfigurations(instance: Instance, accounts: Accounts): void {
  const users = new Map(processSpecs(instance).map(({ name, user }) => [name, user]));
  const write = (name: string, text: string): void => {
    if (!isProcessName(name)) throw new Error(`${name} is not a process`);
    writePrivate(configPath(instance, name), text, accounts.account(users.get(name) ?? "root"), 0o400);
  };
  for (const [name, configuration] of Object.entries(configurations(instance, accounts))) {
    write(name, `${JSON.stringify(configuration, undefined, 2)}\n`);
  }
  write("nats", brokerConfiguration(instance));
  writePublic(instanceFiles(instance).rolesPath, `${JSON.stringify(keptRoles(instance), undefined, 2)}\n`);
}

function prepareLogs(instance: Instance, accounts: Accounts): void {
  for (const { name, user } of processSpecs(instance)) {
    const path = logPath(instance, name);
    closeSync(openSync(path, "a", 0o600));
    const { uid, gid } = accounts.account(user);
    chownSync(path, uid, gid);
    chmodSync(path, 0o600);
  }
}

/** Service users read the code through the bind mount, where only the modes inside the checkout count. */
function requireReadableCheckout(instance: Instance): void {
  const wanted = ["", "/services", "/services/chassis/src", "/proto/gen", "/deploy/dev", "/node_modules"];
  const closed = wanted.filter((path) => (statSync(`${instance.checkout}${path}`).mode & 0o005) !== 0o005);
  if (closed.length === 0) return;
  const names = closed.map((path) => `${instance.checkout}${path}`).join(", ");
  throw new Error(`service users cannot read ${names}: run chmod -R go+rX ${instance.checkout}`);
}

/** Removes the mounts and directories of the instance. Throws with what is in the way; safe to repeat. */
export async function removeLayout(instance: Instance): Promise<void> {
  for (const mount of mountsBelow(instance.runDir).reverse()) await run(["umount", "--", mount]);
  rmSync(instance.runDir, { recursive: true, force: true });
  rmSync(instance.stateDir, { recursive: true, force: true });
  rmSync(instance.environmentPath, { force: true });
}
