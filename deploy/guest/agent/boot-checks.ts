import { existsSync, readFileSync } from "node:fs";

/** What the guest's kernel says of itself: the texts of these files, empty where there is none. */
export type MachineFacts = {
  readonly mounts: string;
  readonly rootDiskIsReadOnly: string;
  readonly identityDiskExists: boolean;
  readonly sysctl: (name: string) => string;
};

const hardenedMounts: readonly (readonly [path: string, ...options: string[]])[] = [
  ["/", "nosuid", "nodev"],
  ["/run", "nosuid", "nodev", "noexec"],
  ["/tmp", "nosuid", "nodev"],
  ["/proc", "nosuid", "nodev", "noexec", "hidepid=invisible"],
  ["/sys", "nosuid", "nodev", "noexec", "ro"],
  ["/dev", "nosuid", "noexec"],
  ["/dev/pts", "nosuid", "noexec", "mode=600", "ptmxmode=000", "max=8"],
];

const sysctls: Readonly<Record<string, string>> = {
  "kernel/dmesg_restrict": "1",
  "kernel/kptr_restrict": "2",
  "kernel/yama/ptrace_scope": "2",
  "kernel/modules_disabled": "1",
  "user/max_user_namespaces": "0",
};

/** What is not as the image's init promises, as readable lines. Empty: the agent may serve. */
export function bootFaults(facts: MachineFacts): readonly string[] {
  const faults: string[] = [];
  const mounts = new Map(
    facts.mounts.split("\n").map((line) => {
      const [, path = "", type = "", options = ""] = line.split(" ");
      return [path, { type, options: new Set(options.split(",")) }];
    }),
  );
  for (const [path, ...options] of hardenedMounts) {
    const mount = mounts.get(path);
    for (const option of options) if (!mount?.options.has(option)) faults.push(`${path} is not mounted ${option}`);
  }
  if (mounts.get("/")?.type !== "overlay") faults.push("/ is not an overlay");
  if (facts.rootDiskIsReadOnly.trim() !== "1") faults.push("the root disk can be written to");
  if (facts.identityDiskExists) faults.push("the identity disk is still there");
  for (const [name, value] of Object.entries(sysctls)) {
    if (facts.sysctl(name).trim() !== value) faults.push(`${name} is not ${value}`);
  }
  return faults;
}

function text(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** The facts of this machine. The root disk is the first one: the host hands it out read-only, whatever the guest mounts. */
export function machineFacts(): MachineFacts {
  return {
    mounts: text("/proc/mounts"),
    rootDiskIsReadOnly: text("/sys/block/vda/ro"),
    identityDiskExists: existsSync("/sys/block/vdc"),
    sysctl: (name) => text(`/proc/sys/${name}`),
  };
}
