/** Coreutils that ExecTenant, the agent and a workload's start script need; no other executable is taken from that package. */
export const coreutils = {
  bin: [
    "cat",
    "chmod",
    "cp",
    "date",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "rmdir",
    "sleep",
    "stty",
    "sync",
    "touch",
    "uname",
  ],
  "usr/bin": ["cut", "env", "head", "id", "sha256sum", "sort", "stat", "tail", "tr", "wc"],
} as const;

/** A path taken out of a package, relative to its root, and where it goes. Names ending in `*` match a version suffix. */
export type PackageFile = { readonly package: string; readonly from: string; readonly to: string };

function library(name: string, from: "lib" | "usr/lib", file: string): PackageFile {
  return { package: name, from: `${from}/x86_64-linux-gnu/${file}`, to: `usr/lib/x86_64-linux-gnu/${file}` };
}

const libcFiles = ["ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"];

/**
 * Every file of the root file system that comes from a Debian package. Only what is named here is copied, so a new version of a
 * package cannot bring a program along. dash, setsid and the coreutils above are the only tools: no package manager, no network tool,
 * no compiler, nothing that needs setuid.
 */
export const packageFiles: readonly PackageFile[] = [
  ...libcFiles.map((file) => library("libc6", "lib", file)),
  library("libstdc++6", "usr/lib", "libstdc++.so.6"),
  library("libgcc-s1", "lib", "libgcc_s.so.1"),
  library("libselinux1", "lib", "libselinux.so.1"),
  library("libacl1", "usr/lib", "libacl.so.1"),
  library("libattr1", "usr/lib", "libattr.so.1"),
  library("libpcre2-8-0", "usr/lib", "libpcre2-8.so.0"),
  { package: "dash", from: "bin/dash", to: "usr/bin/dash" },
  { package: "tini", from: "usr/bin/tini", to: "usr/bin/tini" },
  { package: "util-linux", from: "usr/bin/setsid", to: "usr/bin/setsid" },
  ...coreutils.bin.map((name) => ({ package: "coreutils", from: `bin/${name}`, to: `usr/bin/${name}` })),
  ...coreutils["usr/bin"].map((name) => ({ package: "coreutils", from: `usr/bin/${name}`, to: `usr/bin/${name}` })),
];

/**
 * What an attacker with root in the guest works with: busybox for addresses and pings, perl for raw frames, since Node cannot
 * open a packet socket. In the image made for tests and in no other.
 */
export const attackerFiles: readonly PackageFile[] = [
  { package: "busybox-static", from: "bin/busybox", to: "usr/bin/busybox" },
  { package: "perl-base", from: "usr/bin/perl", to: "usr/bin/perl" },
  library("libcrypt1", "lib", "libcrypt.so.1"),
];

/** The workload's unprivileged user. */
export const workloadUser = { name: "workload", uid: 1000, gid: 1000, home: "/home/workload" } as const;

export const directories: readonly (readonly [path: string, mode: number])[] = [
  ["dev", 0o755],
  ["etc", 0o755],
  ["home", 0o755],
  ["home/workload", 0o755],
  ["opt", 0o755],
  ["opt/agent", 0o700],
  ["opt/workload", 0o755],
  ["proc", 0o555],
  ["root", 0o700],
  ["run", 0o755],
  ["sys", 0o555],
  ["tmp", 0o1777],
  ["usr", 0o755],
  ["usr/bin", 0o755],
  ["usr/lib", 0o755],
  ["usr/lib/x86_64-linux-gnu", 0o755],
  ["usr/lib64", 0o755],
  ["usr/sbin", 0o755],
  ["var", 0o755],
  ["var/tmp", 0o1777],
];

export const symlinks: readonly (readonly [path: string, target: string])[] = [
  ["bin", "usr/bin"],
  ["lib", "usr/lib"],
  ["lib64", "usr/lib64"],
  ["sbin", "usr/sbin"],
  ["usr/bin/sh", "dash"],
  ["usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"],
];

const { name, uid, gid, home } = workloadUser;

/** Configuration files with their modes. A `*` password matches nothing, so no account can be logged in to. */
export const configurationFiles: readonly (readonly [path: string, mode: number, text: string])[] = [
  ["etc/passwd", 0o644, `root:x:0:0:root:/root:/bin/sh\n${name}:x:${uid}:${gid}:workload:${home}:/bin/sh\n`],
  ["etc/group", 0o644, `root:x:0:\n${name}:x:${gid}:\n`],
  ["etc/shadow", 0o600, `root:*:1:0:99999:7:::\n${name}:*:1:0:99999:7:::\n`],
  ["etc/hostname", 0o644, "guest\n"],
  ["etc/hosts", 0o644, "127.0.0.1 localhost\n"],
  ["etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n"],
  ["etc/os-release", 0o644, 'NAME="lobsterd guest"\nID=lobsterd-guest\nID_LIKE=debian\n'],
];
