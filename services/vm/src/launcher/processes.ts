import { execFile } from "node:child_process";
import { closeSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { promisify } from "node:util";

const execFileAsync = promisify(execFile);
/** O_CLOEXEC, which Node does not export. */
const closeOnExec = 0o2000000;
/** What /proc answers for a process that ended meanwhile. */
const gone = ["ENOENT", "ESRCH"];
export const namespaceNames = ["mnt", "pid", "net", "ipc", "uts", "cgroup"] as const;
export type Namespaces = Readonly<Record<(typeof namespaceNames)[number], string>>;

/** Environment of every program that the launcher starts; its own is not handed on. */
export const programEnvironment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } as const;

/** Runs one program to its end and returns its output. Throws with its error output when it fails or takes longer than `timeoutMs`. */
export async function run(argv: readonly [string, ...string[]], timeoutMs: number): Promise<string> {
  const [file, ...rest] = argv;
  const options = {
    cwd: "/",
    env: programEnvironment,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    maxBuffer: 256 * 1024,
  } as const;
  const { stdout } = await execFileAsync(file, rest, options);
  return stdout;
}

/** One process as /proc tells it. Ids are in the order real, effective, saved, file system. */
export interface ProcessFacts {
  readonly pid: number;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
  readonly capabilities: Readonly<Record<"inheritable" | "permitted" | "effective" | "bounding" | "ambient", string>>;
  readonly noNewPrivileges: boolean;
  /** One per thread: 0 none, 1 strict, 2 filter. */
  readonly seccompModes: readonly number[];
  /** The process's number in each pid namespace, outermost first. */
  readonly pidPerNamespace: readonly number[];
  readonly namespaces: Namespaces;
  /** device:inode of its root directory; empty when its own uid may not see it. */
  readonly root: string;
  /** Its mounts as "<mount point> <flags>", sorted. */
  readonly mounts: readonly string[];
  readonly limits: Readonly<Record<string, string>>;
  /** What its open descriptors refer to, as /proc prints it. */
  readonly descriptors: readonly string[];
  /** Its command line, word by word. */
  readonly command: readonly string[];
}

/**
 * Reads a process that runs as `uid`. The kernel shows namespaces, root and mounts only to a process that could trace it: one with the
 * same ids and no more capabilities. The launcher takes the VMM's ids for these reads, so it needs no CAP_SYS_PTRACE. They are
 * synchronous: nothing else of the launcher runs meanwhile. What is not readable that way is empty. Throws when there is no such process.
 */
export function readProcess(pid: number, uid: number): ProcessFacts {
  const proc = `/proc/${pid}`;
  const { namespaces, root, mountinfo, descriptors } = privateFacts(proc, uid);
  const status = statusFields(readFileSync(`${proc}/status`, "utf8"));
  const numbers = (field: string) => (status.get(field) ?? "").split(/\s+/).filter(Boolean).map(Number);
  return {
    pid,
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    capabilities: {
      inheritable: status.get("CapInh") ?? "",
      permitted: status.get("CapPrm") ?? "",
      effective: status.get("CapEff") ?? "",
      bounding: status.get("CapBnd") ?? "",
      ambient: status.get("CapAmb") ?? "",
    },
    noNewPrivileges: status.get("NoNewPrivs") === "1",
    seccompModes: eachOf(`${proc}/task`, (path) =>
      Number(statusFields(readFileSync(`${path}/status`, "utf8")).get("Seccomp")),
    ),
    pidPerNamespace: numbers("NSpid"),
    namespaces,
    root,
    mounts: parseMounts(mountinfo),
    limits: parseLimits(readFileSync(`${proc}/limits`, "utf8")),
    descriptors,
    command: readFileSync(`${proc}/cmdline`, "utf8")
      .split(/[\0\s]+/)
      .filter(Boolean),
  };
}

/** What only the process's own uid may see; empty when it may not: the process has other ids than it should, or more capabilities. */
function privateFacts(proc: string, uid: number) {
  try {
    return withIds(uid, () => {
      const { dev, ino } = statSync(`${proc}/root`);
      return {
        namespaces: namespacesOf(proc),
        root: `${dev}:${ino}`,
        mountinfo: readFileSync(`${proc}/mountinfo`, "utf8"),
        descriptors: eachOf(`${proc}/fd`, (path) => readlinkSync(path)),
      };
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    const none = Object.fromEntries(namespaceNames.map((name) => [name, ""])) as Namespaces;
    return { namespaces: none, root: "", mountinfo: "", descriptors: [] };
  }
}

/** Whether a thread is the kernel's own: a child of kthreadd. A process that ended is none. */
export function isKernelThread(proc: string, pid: number): boolean {
  return readOrGone(`${proc}/${pid}/status`, (text) => statusFields(text).get("PPid") === "2") ?? false;
}

/** Reads a file of /proc; undefined when its process is gone. */
export function readOrGone<T>(path: string, parse: (text: string) => T): T | undefined {
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (gone.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Ids of processes that run with `uid` as any of theirs. One that ends has no memory any more, and is none. */
export function processesOf(uid: number): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const uses = (text: string) => {
    const fields = statusFields(text);
    return fields.has("VmSize") && (fields.get("Uid") ?? "").split(/\s+/).includes(String(uid));
  };
  return pids.filter((pid) => readOrGone(`/proc/${pid}/status`, uses) === true).map(Number);
}

/** Reads every entry of a directory of /proc, without those that ended between its listing and its reading. */
function eachOf<T>(directory: string, read: (path: string) => T): T[] {
  return readdirSync(directory).flatMap((name) => {
    try {
      return [read(`${directory}/${name}`)];
    } catch (error) {
      if (gone.includes((error as NodeJS.ErrnoException).code ?? "")) return [];
      throw error;
    }
  });
}

/**
 * Closes what this process inherited beside its standard streams: Node opens its own descriptors close-on-exec, so one without that
 * flag came from the parent and would go on into every VMM.
 */
export function closeInheritedDescriptors(): void {
  const inherited = eachOf("/proc/self/fdinfo", (path) => {
    const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(readFileSync(path, "utf8"))?.[1] ?? "", 8);
    return (flags & closeOnExec) === 0 ? Number(path.split("/").at(-1)) : -1;
  });
  for (const descriptor of inherited) if (descriptor > 2) closeSync(descriptor);
}

/** Inode numbers of the namespaces of the process that `proc` (`/proc/<pid>` or `/proc/self`) shows. */
export function namespacesOf(proc: string): Namespaces {
  const inode = (name: string) => /\[(\d+)\]/.exec(readlinkSync(`${proc}/ns/${name}`))?.[1] ?? "";
  return Object.fromEntries(namespaceNames.map((name) => [name, inode(name)])) as Namespaces;
}

/** Runs `read` with effective ids that are not root's; the kernel gives the capabilities back with the root id. */
function withIds<T>(uid: number, read: () => T): T {
  if (process.setegid === undefined || process.seteuid === undefined) throw new Error("this platform has no user ids");
  process.setegid(uid);
  try {
    process.seteuid(uid);
    return read();
  } finally {
    process.seteuid(0);
    process.setegid(0);
  }
}

function statusFields(text: string): Map<string, string> {
  return new Map(
    text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}

/** The access-time flags are the file system's own affair; of a file system's own options only those that confine matter. */
function parseMounts(mountinfo: string): string[] {
  const described = mountinfo
    .trim()
    .split("\n")
    .map((line) => {
      const fields = line.split(" ");
      const flags = (fields[5] ?? "").split(",").filter((flag) => !flag.endsWith("atime"));
      const own = (fields.at(-1) ?? "").split(",").filter((option) => /^(hidepid|subset)=/.test(option));
      return `${fields[4]} ${[...flags, ...own].join(",")}`;
    });
  return described.sort();
}

/** Soft limits; the hard ones are set together with them. */
function parseLimits(text: string): Record<string, string> {
  const rows = text.split("\n").flatMap((line) => [/^Max (.+?)\s{2,}(\S+)\s/.exec(line)]);
  return Object.fromEntries(rows.flatMap((row) => (row?.[1] && row[2] ? [[row[1], row[2]] as const] : [])));
}
