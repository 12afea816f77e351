import { existsSync, rmSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { parseArgs } from "node:util";
import { issueClient, revokeClient, roleSchema } from "../dev/clients.ts";
import { run } from "../dev/command.ts";
import { fetchPrograms } from "../dev/debian-archive.ts";
import { ensureIdentities } from "../dev/identities.ts";
import { checkoutDir } from "../dev/instance.ts";
import { type Accounts, readAccounts } from "../dev/users.ts";
import { hostConfigurations, hostSettingsSchema } from "./configuration.ts";
import { configureHost } from "./configure.ts";
import { afterInstall, afterUninstall, beforeUninstall, guestsRun, removeAccounts } from "./host-commands.ts";
import { hostFiles } from "./host-files.ts";
import { configDir, configuredHost, describeHost } from "./host-instance.ts";
import { install, readRecord, uninstall } from "./install.ts";
import { releaseSources } from "./release.ts";
import { unitOf } from "./units.ts";

const usage = `usage: node deploy/systemd/main.ts <command>

  install [--destdir DIR]              install or upgrade this checkout; guests stay
  configure --domain D --uplink LINK --resolver IP [--resolver IP] [--slots N] [--acme URL --email ADDRESS]
                                       certificates, keys and configurations of an installed host
  client NAME --role ROLE [--reissue]  issue a client certificate: operator, viewer or owner; --reissue gives a revoked
                                       name back to the client that had it
  revoke NAME                          take its role and every certificate from a client, within seconds
  rotate                               make every certificate of a configured host anew, without a failed call
  uninstall [--destdir DIR] [--purge]  remove what was installed; --purge removes state, keys, configurations and users too
`;

const example = {
  domain: "tenants.example.org",
  uplinkInterface: "eth0",
  resolverAddresses: ["9.9.9.9"],
  slotCount: 100,
};
/** Where nobody has an account yet: the one number in a configuration is the group that may call the launcher. */
const nobody: Accounts = { account: () => ({ uid: 0, gid: 0 }), group: () => 0 };

class UsageError extends Error {}

async function main(): Promise<void> {
  const { values, positionals } = parse();
  const [command, ...rest] = positionals;
  if (values.help === true) return say(usage);
  const isOfClient = command === "client" || command === "revoke";
  if (command === undefined || rest.length !== (isOfClient ? 1 : 0)) throw new UsageError("one command is needed");
  if (process.getuid?.() !== 0) throw new UsageError("only root installs what root starts");
  if (command === "rotate") return rotateHost();
  if (isOfClient) return changeClient(command, rest[0] ?? "", values);
  const root = rootOf(values.destdir);
  if (command === "install") return installRelease(root);
  if (command === "uninstall") return removeRelease(root, values.purge === true);
  if (command !== "configure") throw new UsageError(`no command ${command}`);
  const parsed = hostSettingsSchema.safeParse({
    domain: values.domain,
    uplinkInterface: values.uplink,
    resolverAddresses: values.resolver,
    ...(values.slots === undefined ? {} : { slotCount: values.slots }),
    ...(values.acme === undefined ? {} : { acmeDirectory: values.acme, acmeEmail: values.email }),
  });
  if (!parsed.success) {
    throw new UsageError(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("\n"));
  }
  if (parsed.data.acmeDirectory !== undefined && parsed.data.acmeEmail === undefined)
    throw new UsageError("--email is missing");
  await configureHost(parsed.data, checkoutDir, say);
}

async function changeClient(
  command: "client" | "revoke",
  name: string,
  { role, reissue = false }: { readonly role?: string | undefined; readonly reissue?: boolean | undefined },
): Promise<void> {
  const instance = configuredHost();
  if (command === "revoke") {
    const { serialNumbers, isRecorded } = await revokeClient(instance, name);
    say(`revoked: ${serialNumbers.join(", ")}`);
    if (!isRecorded) throw new Error("audit is away: the revocation counts and is not recorded");
    return;
  }
  const parsed = roleSchema.safeParse(role);
  if (!parsed.success) throw new UsageError(`--role is one of ${roleSchema.options.join(", ")}`);
  const { certificatePath, keyPath } = await issueClient(instance, name, parsed.data, { reissue });
  say(`${name} is ${parsed.data}: ${certificatePath} ${keyPath}`);
}

async function rotateHost(): Promise<void> {
  const instance = configuredHost();
  say(`made anew: ${(await ensureIdentities(instance, readAccounts(), "all")).join(", ")}`);
  await runAll([["systemctl", "reload", unitOf("nats")]]);
}

async function installRelease(root: string): Promise<void> {
  const before = readRecord(root);
  await fetchPrograms(checkoutDir, say);
  const host = describeHost(example.domain, example.slotCount);
  const { release } = install({
    root,
    checkout: checkoutDir,
    sources: releaseSources(checkoutDir),
    extra: new Map(hostConfigurations(example, nobody).map(({ name, text }) => [`examples/${name}`, text])),
    files: hostFiles(host, checkoutDir),
  });
  const isUpgrade = before !== undefined && before.release !== release;
  say(
    before === undefined ? `installed ${release}` : `${isUpgrade ? "upgraded to" : "is installed already:"} ${release}`,
  );
  if (root !== "") return;
  await runAll(afterInstall(isUpgrade));
  if (before === undefined)
    say("settings of the machine take effect at the next boot; next: configure (deploy/systemd/README.md)");
}

async function removeRelease(root: string, purge: boolean): Promise<void> {
  const isInstalled = readRecord(root) !== undefined;
  if (root === "" && isInstalled) {
    // Evicting a tenant also destroys its keys; a removal must not end its guest on the way.
    if (guestsRun()) throw new Error("guests run; evict or suspend their tenants first. Nothing was changed");
    await runAll(beforeUninstall(readAccounts(), existsSync(`${configDir}/net.json`)));
  }
  for (const path of uninstall(root)) say(`kept, because it was changed: ${path}`);
  if (root === "" && isInstalled) await runAll(afterUninstall());
  const { stateDir, runDir } = describeHost(example.domain, example.slotCount);
  if (root === "" && isInstalled) rmSync(runDir, { recursive: true, force: true });
  const lasting = [stateDir, configDir].map((path) => join(root, path)).filter((path) => existsSync(path));
  if (!purge) {
    for (const path of lasting) say(`kept: ${path}`);
    return;
  }
  for (const path of lasting) rmSync(path, { recursive: true });
  if (root === "") await runAll(removeAccounts());
}

/** The host's own root needs a running systemd; a package is made anywhere. */
function rootOf(destdir = ""): string {
  // `/` is the host itself.
  if (/^\/*$/.test(destdir)) {
    if (!existsSync("/run/systemd/system")) {
      throw new UsageError(
        "this machine is not run by systemd; --destdir DIR (make: DESTDIR=DIR) installs below a directory",
      );
    }
    return "";
  }
  if (!isAbsolute(destdir) || (existsSync(destdir) && !statSync(destdir).isDirectory())) {
    throw new UsageError(`${destdir} is not the absolute path of a directory`);
  }
  return destdir.replace(/\/+$/, "");
}

async function runAll(commands: readonly (readonly string[])[]): Promise<void> {
  for (const command of commands) {
    say(command.join(" "));
    await run(command, { timeoutMs: 120_000 });
  }
}

function parse() {
  try {
    const text = { type: "string" } as const;
    return parseArgs({
      allowPositionals: true,
      options: {
        ...{ destdir: text, domain: text, uplink: text, slots: text, acme: text, email: text, role: text },
        resolver: { type: "string", multiple: true },
        purge: { type: "boolean" },
        reissue: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  if (error instanceof UsageError) process.stderr.write(usage);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
