import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** A process that cannot be mistaken for a later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, from /proc/<pid>/stat. */
  readonly startTicks: string;
}

export interface ProcessStatus {
  readonly name: string;
  readonly state: string;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
  /** Names without `CAP_`, by set. */
  readonly capabilities: Readonly<
    Record<"permitted" | "effective" | "inheritable" | "bounding" | "ambient", readonly string[]>
  >;
  readonly noNewPrivileges: boolean;
}

/** Capability names by number, from linux/capability.h. */
const capabilityNames = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"],
  ...["LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"],
  ...["SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"],
  ...["SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"],
  ...["MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"],
  "CHECKPOINT_RESTORE",
];

/** The process with that pid now, or `undefined`. A zombie counts as ended once its last thread has. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat === undefined ? undefined : parseStat(pid, stat);
}

/** The process of `/proc/<pid>/stat`. One that was killed is a zombie as soon as its first thread has ended, and has its sockets until the last one has. */
export function parseStat(pid: number, stat: string): ProcessIdentity | undefined {
  // The name, in parentheses, may itself hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, threads, startTicks] = [fields[0], fields[17], fields[19]];
  const hasEnded = state === "X" || (state === "Z" && Number(threads) <= 1);
  return hasEnded || startTicks === undefined ? undefined : { pid, startTicks };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.startTicks === identity.startTicks;
}

/** Sends a signal unless the process has ended. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

/** Ends processes: SIGTERM, then SIGKILL to those that are left after `graceMs`. Throws if one survives that. */
export async function endProcesses(identities: readonly ProcessIdentity[], graceMs: number): Promise<void> {
  for (const identity of identities) signalProcess(identity, "SIGTERM");
  if (await ended(identities, graceMs)) return;
  for (const identity of identities) signalProcess(identity, "SIGKILL");
  if (await ended(identities, 10_000)) return;
  const left = identities.filter(isAlive).map(({ pid }) => `${pid} (${commandOf(pid)})`);
  throw new Error(`processes survive SIGKILL: ${left.join(", ")}`);
}

async function ended(identities: readonly ProcessIdentity[], limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (identities.some(isAlive)) {
    if (performance.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

/** Pids of all processes of the machine. */
export function listPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The command line with blanks between its words; empty for a kernel thread or one that ended. */
export function commandOf(pid: number): string {
  return (read(`/proc/${pid}/cmdline`) ?? "").replace(/\0$/, "").replaceAll("\0", " ");
}

/** What /proc/<pid>/status says, or `undefined` if the process ended. */
export function statusOf(pid: number): ProcessStatus | undefined {
  const text = read(`/proc/${pid}/status`);
  return text === undefined ? undefined : parseStatus(text);
}

export function parseStatus(text: string): ProcessStatus {
  const values = new Map(text.split("\n").map((line) => splitOnce(line, ":")));
  const value = (key: string): string => {
    const found = values.get(key);
    if (found === undefined) throw new Error(`/proc status has no ${key}`);
    return found.trim();
  };
  const numbers = (key: string): number[] => value(key).split(/\s+/).filter(Boolean).map(Number);
  return {
    name: value("Name"),
    state: value("State").slice(0, 1),
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    capabilities: {
      permitted: capabilitiesOf(value("CapPrm")),
      effective: capabilitiesOf(value("CapEff")),
      inheritable: capabilitiesOf(value("CapInh")),
      bounding: capabilitiesOf(value("CapBnd")),
      ambient: capabilitiesOf(value("CapAmb")),
    },
    noNewPrivileges: value("NoNewPrivs") === "1",
  };
}

/** Sorted names of a capability mask as /proc prints it; a capability this list does not know is named by its number. */
export function capabilitiesOf(mask: string): string[] {
  const bits = BigInt(`0x${mask}`);
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) {
    if ((bits & (1n << BigInt(bit))) !== 0n) names.push(capabilityNames[bit] ?? `CAP_${bit}`);
  }
  return names.sort();
}

function splitOnce(line: string, separator: string): [string, string] {
  const at = line.indexOf(separator);
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // ENOENT or ESRCH: the process ended between being listed and being read.
    return undefined;
  }
}
