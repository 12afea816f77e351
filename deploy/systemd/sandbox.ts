import { outerRange } from "@lobsterd/net/slots/address-plan.ts";
import type { Settings } from "./unit-file.ts";

/** Processes of a host; the development runner has two more. */
export const hostProcesses = ["nats", "audit", "secrets", "net", "proxy", "vm-launcher", "vm", "caddy"] as const;
export type HostProcess = (typeof hostProcesses)[number];

/** What one process may reach, beside its user, its capabilities and its own directories. */
export interface Reach {
  readonly families: readonly string[];
  /** Networks beside loopback; `any` for no filter. */
  readonly networks: readonly string[] | "any";
  /** Nodes beside null, zero, full, random, urandom and tty, each with its rights; `own` for a private `/dev` without more. */
  readonly devices: readonly string[] | "own";
  /** Whether other users' processes, and the files of `/proc` that are not about processes, are to be seen. */
  readonly proc: "own" | "files" | "all";
  /**
   * Whether it has a mount namespace of its own. What is mounted in one does not reach the host's, and is gone when the
   * process ends: `net` and the launcher work in the host's.
   */
  readonly ownMounts: boolean;
  readonly namespaces: string;
  readonly systemCalls: readonly string[];
  /** Node compiles JavaScript to memory that it then executes; Caddy and the broker do not. */
  readonly compiles: boolean;
}

const serviceCalls = ["@system-service", "~@privileged @resources"];
const service: Reach = {
  families: ["AF_UNIX", "AF_INET"],
  networks: [],
  devices: "own",
  proc: "own",
  ownMounts: true,
  namespaces: "yes",
  systemCalls: serviceCalls,
  compiles: true,
};

export const reaches: Readonly<Record<HostProcess, Reach>> = {
  audit: service,
  secrets: { ...service, networks: [outerRange] },
  // Reads /proc/net/tcp, to know who listens.
  proxy: { ...service, proc: "files" },
  // Judges the host: its devices' modes, its kernel threads, every file of /proc and /sys that a control names.
  vm: { ...service, networks: [outerRange], devices: [], proc: "all" },
  net: {
    ...service,
    families: ["AF_UNIX", "AF_NETLINK", "AF_INET"],
    devices: ["/dev/net/tun rw"],
    proc: "all",
    ownMounts: false,
    namespaces: "net",
    systemCalls: ["@system-service", "@mount setns unshare"],
  },
  "vm-launcher": {
    ...service,
    families: ["AF_UNIX"],
    // `m`: the jailer makes these nodes in each jail.
    devices: ["/dev/kvm rwm", "/dev/net/tun rwm", "/dev/userfaultfd m"],
    proc: "all",
    ownMounts: false,
    // Every VMM gets namespaces of its own.
    namespaces: "no",
    // A filter is inherited by every VMM, whose own is narrower: this one leaves out what neither may ever do.
    systemCalls: ["~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap"],
  },
  caddy: { ...service, families: ["AF_INET", "AF_INET6", "AF_UNIX"], networks: "any", proc: "files", compiles: false },
  nats: { ...service, families: ["AF_INET"], compiles: false },
};

/** The settings that confine a process. `writable` is what it owns, `closed` is what is other processes' alone. */
export function sandboxOf(reach: Reach, writable: readonly string[], closed: readonly string[]): Settings {
  return {
    NoNewPrivileges: "yes",
    LimitCORE: "0",
    LockPersonality: "yes",
    ProtectClock: "yes",
    ProtectHostname: "yes",
    RestrictRealtime: "yes",
    RestrictSUIDSGID: "yes",
    RemoveIPC: "yes",
    KeyringMode: "private",
    SystemCallArchitectures: "native",
    SystemCallErrorNumber: "EPERM",
    SystemCallFilter: reach.systemCalls,
    RestrictAddressFamilies: reach.families.join(" "),
    RestrictNamespaces: reach.namespaces,
    ...(reach.compiles ? {} : { MemoryDenyWriteExecute: "yes" }),
    ...(reach.networks === "any"
      ? {}
      : { IPAddressDeny: "any", IPAddressAllow: ["localhost", ...reach.networks].join(" ") }),
    ...(reach.devices === "own" ? { PrivateDevices: "yes" } : { DevicePolicy: "closed", DeviceAllow: reach.devices }),
    ...(reach.ownMounts ? mounts(reach, writable, closed) : { PrivateMounts: "no" }),
  };
}

function mounts(reach: Reach, writable: readonly string[], closed: readonly string[]): Settings {
  return {
    ProtectSystem: "strict",
    ProtectHome: "yes",
    PrivateTmp: "yes",
    PrivateIPC: "yes",
    ProtectKernelTunables: "yes",
    ProtectKernelModules: "yes",
    ProtectKernelLogs: "yes",
    ProtectControlGroups: "yes",
    ...(reach.proc === "all" ? {} : { ProtectProc: "invisible" }),
    ...(reach.proc === "own" ? { ProcSubset: "pid" } : {}),
    ReadWritePaths: writable.join(" "),
    InaccessiblePaths: closed.map((path) => `-${path}`).join(" "),
  };
}
