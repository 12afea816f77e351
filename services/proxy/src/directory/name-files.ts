import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A host name that a tenant brings along. */
export type ExtraHost = { readonly hostName: string; readonly tenant: string };

/**
 * The names that Caddy answers for. A name is there from the return of `add` until the return of `remove`, for the very next
 * request; all of them may be repeated.
 */
export interface NameFiles {
  add(tenant: string): void;
  remove(tenant: string): void;
  list(): string[];
  /** `hostName` leads to this tenant, and to no other from then on. */
  addHost(host: ExtraHost): void;
  removeHost(hostName: string): void;
  listHosts(): ExtraHost[];
  /** A request for one of the tenant's names is held until `markAwake`, from the very next one on. */
  markAsleep(tenant: string): void;
  markAwake(tenant: string): void;
  listAsleep(): string[];
}

/** Where extra host names are below the names directory. No tenant can be called so. */
export const extraHostsDirectory = ".hosts";

/** Where one empty file says that a tenant is asleep. */
export const asleepDirectory = ".asleep";

/** What is beside the names of tenants. */
const isOwn = (name: string): boolean => name.startsWith(".");

/**
 * One empty file for each name in a directory on tmpfs. Caddy looks its file up before each request, which costs two
 * stat(2) calls; that is what cuts a withdrawn tenant off even where connections to its guest are pooled. Caddy needs search
 * permission on the directory and nothing on the files. Throws if the directory does not exist.
 *
 * An extra host name is a directory with one empty file, which is named like the tenant: Caddy's lookup tells it whom to dial. It needs
 * to list that directory, and cannot list the names beside it.
 */
export function openNameFiles(directory: string): NameFiles {
  if (!statSync(directory).isDirectory()) throw new Error(`${directory} is not a directory`);
  const hosts = join(directory, extraHostsDirectory);
  const asleep = join(directory, asleepDirectory);
  makeDirectory(hosts, 0o710);
  makeDirectory(asleep, 0o710);
  return {
    add: (tenant) => writeFileSync(join(directory, tenant), "", { mode: 0o600 }),
    remove: (tenant) => rmSync(join(directory, tenant), { force: true }),
    list: () => readdirSync(directory).filter((name) => !isOwn(name)),
    addHost({ hostName, tenant }) {
      const host = join(hosts, hostName);
      makeDirectory(host, 0o750);
      for (const other of readdirSync(host)) if (other !== tenant) rmSync(join(host, other));
      writeFileSync(join(host, tenant), "", { mode: 0o600 });
    },
    removeHost: (hostName) => rmSync(join(hosts, hostName), { recursive: true, force: true }),
    listHosts: () =>
      readdirSync(hosts).flatMap((hostName) =>
        readdirSync(join(hosts, hostName)).map((tenant) => ({ hostName, tenant })),
      ),
    markAsleep: (tenant) => writeFileSync(join(asleep, tenant), "", { mode: 0o600 }),
    markAwake: (tenant) => rmSync(join(asleep, tenant), { force: true }),
    listAsleep: () => readdirSync(asleep),
  };
}

/**
 * Its group is that of the directory above, which has the set-group-id bit: Caddy's, of which this process is no member. The kernel
 * passes the bit on at mkdir(2) and takes it away at chmod(2) by a stranger to the group, so the mode has to come with the directory.
 */
function makeDirectory(path: string, mode: number): void {
  const previous = process.umask(0o007);
  try {
    mkdirSync(path, { recursive: true, mode });
  } finally {
    process.umask(previous);
  }
}
