import { type Namespaces, namespaceNames, type ProcessFacts } from "./processes.ts";

const noCapabilities = "0000000000000000";

/** What a process in the jail of one kind of VMM must look like. */
export interface JailDescription {
  /** Path of its root directory on the host. */
  readonly root: string;
  /** Namespaces that must be its own. */
  readonly ownNamespaces: readonly (keyof Namespaces)[];
  readonly boundingCapabilities: string;
  readonly noNewPrivileges: boolean;
  /** Threads that must have a seccomp filter; "some": guest code cannot run yet, and not every thread has installed its own. */
  readonly filteredThreads: "some" | "every";
  readonly mounts: readonly string[];
  /** What an open descriptor may refer to. */
  readonly descriptors: RegExp;
  /** Soft limits by the name that /proc prints. */
  readonly limits: Readonly<Record<string, string>>;
}

/** What the rest of the host says that the process must be. */
export interface HostExpectation {
  readonly uid: number;
  /** device:inode of the jail's root directory. */
  readonly root: string;
  /** Inode of the slot's network namespace. */
  readonly network: string;
  /** Namespaces of the launcher and of every other VM. */
  readonly foreign: readonly Partial<Namespaces>[];
  /** Processes in the VM's cgroup, per hierarchy, and the hierarchies there must be. Kernel threads are not among them. */
  readonly members: ReadonlyMap<string, readonly number[]>;
  readonly hierarchies: readonly string[];
  readonly cgroupFaults: readonly string[];
}

/** Every property of `facts` that is not as the jail describes it; empty when the process is confined. */
export function jailFaults(facts: ProcessFacts, jail: JailDescription, host: HostExpectation): string[] {
  const faults: string[] = [];
  const check = (property: string, holds: boolean, actual: unknown) => {
    if (!holds) faults.push(`${property} is ${JSON.stringify(actual)}`);
  };
  const only = (value: number) => (ids: readonly number[]) => ids.length === 4 && ids.every((id) => id === value);
  check("uid", only(host.uid)(facts.uids), facts.uids);
  check("gid", only(host.uid)(facts.gids), facts.gids);
  check("groups", facts.groups.length === 0, facts.groups);
  for (const [set, value] of Object.entries(facts.capabilities))
    check(`${set} capabilities`, value === (set === "bounding" ? jail.boundingCapabilities : noCapabilities), value);
  check("no-new-privileges", facts.noNewPrivileges || !jail.noNewPrivileges, facts.noNewPrivileges);
  const filtered = facts.seccompModes.filter((mode) => mode === 2).length;
  const needed = jail.filteredThreads === "some" ? 1 : facts.seccompModes.length;
  check("seccomp", filtered > 0 && filtered >= needed, facts.seccompModes);
  const forbidden = facts.command.filter((word) => /^--(no-seccomp|seccomp-filter)/.test(word));
  check("command line", forbidden.length === 0, forbidden);
  const pids = facts.pidPerNamespace;
  check("pid in its namespace", pids.length > 1 && pids.at(-1) === 1, pids);
  for (const name of namespaceNames) {
    const inode = facts.namespaces[name];
    const shared = jail.ownNamespaces.includes(name) && host.foreign.some((other) => other[name] === inode);
    check(`${name} namespace`, inode !== "" && !shared, inode);
  }
  check("network namespace of the slot", facts.namespaces.net === host.network, facts.namespaces.net);
  check("root", facts.root === host.root, facts.root);
  check("mounts", facts.mounts.join("\n") === jail.mounts.join("\n"), facts.mounts);
  const foreign = facts.descriptors.filter((target) => !jail.descriptors.test(target));
  check("descriptors", foreign.length === 0, foreign);
  for (const [name, value] of Object.entries(jail.limits))
    check(name, facts.limits[name] === value, facts.limits[name]);
  for (const hierarchy of host.hierarchies) {
    const members = host.members.get(hierarchy) ?? [];
    check(`cgroup ${hierarchy}`.trim(), members.length === 1 && members[0] === facts.pid, members);
  }
  return [...faults, ...host.cgroupFaults];
}
