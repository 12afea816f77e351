import { dirname } from "node:path";
import { instanceFiles } from "./configuration.ts";
import { type Instance, serviceNames, stateRoot } from "./instance.ts";
import { type Accounts, sharedGroup } from "./users.ts";

/** A directory that exists before the first process starts. A group that is a user's name is that user's own group. */
export interface Directory {
  readonly path: string;
  readonly user: string;
  readonly group: string;
  readonly mode: number;
}

/** Directories of the running stack, below a tmpfs; parents first. */
export function runDirectories(instance: Instance): Directory[] {
  const { runDir } = instance;
  return [
    ...serviceNames.map((name) => ({
      path: `${runDir}/${name}`,
      ...{ user: `lobsterd-${name}`, group: sharedGroup, mode: 0o2750 },
    })),
    { path: `${runDir}/vm-launcher`, user: "root", group: "lobsterd-vm", mode: 0o750 },
    { path: instanceFiles(instance).spoolDir, user: "lobsterd-vm", group: "lobsterd-vm", mode: 0o700 },
    {
      path: dirname(instanceFiles(instance).adminSocketPath),
      user: "lobsterd-caddy",
      group: "lobsterd-proxy",
      mode: 0o2750,
    },
    { path: instanceFiles(instance).namesDirectory, user: "lobsterd-proxy", group: "lobsterd-caddy", mode: 0o2710 },
    { path: `${runDir}/netns`, user: "lobsterd-net", group: "lobsterd-net", mode: 0o755 },
    ofRoot(`${runDir}/jails`, 0o711),
  ];
}

/** What the development runner needs beside these: on a host, systemd starts, logs and counts the processes. */
export function runnerDirectories(instance: Instance): Directory[] {
  const { runDir, configDir } = instance;
  return [ofRoot(configDir, 0o711), ofRoot(`${runDir}/log`, 0o711), ofRoot(`${runDir}/process`, 0o700)];
}

/** Directories of what lasts; parents first. */
export function stateDirectories(instance: Instance): Directory[] {
  const { stateDir } = instance;
  const { rootKeyPath, shardsDir, witnessDir, clientListPath } = instanceFiles(instance);
  const own = (path: string, user: string): Directory => ({ path, user, group: user, mode: 0o700 });
  return [
    ofRoot(stateRoot, 0o755),
    ofRoot(stateDir, 0o711),
    ...[...serviceNames, "nats", "caddy"].map((name) => own(`${stateDir}/${name}`, `lobsterd-${name}`)),
    own(witnessDir, "lobsterd-audit"),
    ...["vms", "certificates", "keys"].map((name) => ofRoot(`${stateDir}/${name}`, 0o711)),
    // A rotation puts the next root key beside this one, so the directory is the service's own.
    ...[dirname(rootKeyPath), shardsDir].map((path) => own(path, "lobsterd-secrets")),
    // Every service reads the list in it.
    { path: dirname(clientListPath), user: "lobsterd-secrets", group: "lobsterd-secrets", mode: 0o755 },
    ofRoot(`${stateDir}/images`, 0o755),
  ];
}

/** Number of a directory's group. Throws for a name that does not exist. */
export function groupId(accounts: Accounts, group: string): number {
  return group === sharedGroup ? accounts.group(group) : accounts.account(group).gid;
}

function ofRoot(path: string, mode: number): Directory {
  return { path, user: "root", group: "root", mode };
}
