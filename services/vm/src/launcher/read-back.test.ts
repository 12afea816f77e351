import assert from "node:assert/strict";
import { test } from "node:test";
import { namespaceNames, type ProcessFacts } from "./processes.ts";
import { type HostExpectation, type JailDescription, jailFaults } from "./read-back.ts";

const none = "0000000000000000";
const confined: ProcessFacts = {
  pid: 700,
  uids: [900_000_001, 900_000_001, 900_000_001, 900_000_001],
  gids: [900_000_001, 900_000_001, 900_000_001, 900_000_001],
  groups: [],
  capabilities: { inheritable: none, permitted: none, effective: none, bounding: none, ambient: none },
  noNewPrivileges: true,
  seccompModes: [2, 2],
  pidPerNamespace: [700, 1],
  namespaces: { mnt: "11", pid: "12", net: "13", ipc: "14", uts: "15", cgroup: "16" },
  root: "0:99",
  mounts: [
    "/ ro,nosuid,nodev,noexec",
    "/dev rw,nosuid,noexec",
    "/image ro,nosuid,nodev,noexec",
    "/overlay.ext4 rw,nosuid,nodev,noexec",
    "/proc rw,nosuid,nodev,noexec,hidepid=invisible,subset=pid",
    "/run rw,nosuid,nodev,noexec",
    "/usr ro,nosuid,nodev",
  ],
  limits: { "open files": "256", "core file size": "0", "locked memory": "0", "file size": "1048576" },
  descriptors: [
    "/dev/null",
    "/dev/net/tun",
    "/image/rootfs.erofs",
    "/overlay.ext4",
    "socket:[1]",
    "anon_inode:[eventfd]",
  ],
  command: ["/usr/bin/vmm", "-S"],
};
const jail: JailDescription = {
  root: "/run/jail",
  ownNamespaces: namespaceNames,
  boundingCapabilities: none,
  noNewPrivileges: true,
  filteredThreads: "every",
  mounts: [...confined.mounts],
  descriptors: /^(\/dev\/(null|net\/tun)|\/image\/[a-z.]+|\/overlay\.ext4|socket:\[\d+\]|anon_inode:\S+)$/,
  limits: confined.limits,
};
const expected: HostExpectation = {
  uid: 900_000_001,
  root: "0:99",
  network: "13",
  foreign: [
    { mnt: "1", pid: "2", net: "3", ipc: "4", uts: "5", cgroup: "6" },
    { mnt: "101", pid: "102", net: "103", ipc: "104", uts: "105", cgroup: "106" },
  ],
  members: new Map([
    ["memory", [700]],
    ["pids", [700]],
  ]),
  hierarchies: ["memory", "pids"],
  cgroupFaults: [],
};

test("a process that is as its jail describes has no fault", () => {
  assert.deepEqual(jailFaults(confined, jail, expected), []);
});

const capability = (set: keyof ProcessFacts["capabilities"]) => ({
  capabilities: { ...confined.capabilities, [set]: "0000000000000020" },
});
/** The launcher's own, or another VM's. */
const namespace = (name: keyof ProcessFacts["namespaces"], of: 0 | 1) => ({
  namespaces: { ...confined.namespaces, [name]: expected.foreign[of]?.[name] },
});

/** Includes what cannot be taken from a real jail in a test: without its own mount namespace the script would unmount the host. */
const differences: readonly (readonly [string, Partial<ProcessFacts>, Partial<HostExpectation>?])[] = [
  ["uid", { uids: [900_000_001, 900_000_001, 0, 900_000_001] }],
  ["gid", { gids: [900_000_001, 0, 900_000_001, 900_000_001] }],
  ["uid", { uids: [] }],
  ["groups", { groups: [108] }],
  ...(["inheritable", "permitted", "effective", "bounding", "ambient"] as const).map(
    (set) => [`${set} capabilities`, capability(set)] as const,
  ),
  ["inheritable capabilities", { capabilities: { ...confined.capabilities, inheritable: "" } }],
  ["no-new-privileges", { noNewPrivileges: false }],
  ["seccomp", { seccompModes: [2, 0] }],
  ["seccomp", { seccompModes: [] }],
  ["seccomp", { seccompModes: [1] }],
  ["pid in its namespace", { pidPerNamespace: [700] }],
  ["pid in its namespace", { pidPerNamespace: [700, 7] }],
  ["pid in its namespace", { pidPerNamespace: [1] }],
  ...namespaceNames.map((name) => [`${name} namespace`, namespace(name, 0)] as const),
  ...namespaceNames.map((name) => [`${name} namespace`, namespace(name, 1)] as const),
  ["mnt namespace", { namespaces: { ...confined.namespaces, mnt: "" } }],
  ["network namespace of the slot", { namespaces: { ...confined.namespaces, net: "77" } }],
  ["root", { root: "0:2" }],
  ["mounts", { mounts: confined.mounts.slice(1) }],
  ["mounts", { mounts: [...confined.mounts, "/old rw"] }],
  ["mounts", { mounts: confined.mounts.map((mount) => mount.replace("/usr ro", "/usr rw")) }],
  ["descriptors", { descriptors: ["/dev/null", "/etc/shadow"] }],
  ["descriptors", { descriptors: ["/image/../etc/shadow"] }],
  ["descriptors", { descriptors: ["pipe:[7]"] }],
  ["open files", { limits: { ...confined.limits, "open files": "1024" } }],
  ["command line", { command: ["/firecracker", "--no-seccomp"] }],
  ["command line", { command: ["/firecracker", "--seccomp-filter", "x.json"] }],
  ["core file size", { limits: { ...confined.limits, "core file size": "unlimited" } }],
  ["locked memory", { limits: { ...confined.limits, "locked memory": "65536" } }],
  ["file size", { limits: { ...confined.limits, "file size": "unlimited" } }],
  ["cgroup pids", {}, { members: new Map([["memory", [700]]]) }],
  [
    "cgroup pids",
    {},
    {
      members: new Map([
        ["memory", [700]],
        ["pids", [700, 701]],
      ]),
    },
  ],
  [
    "cgroup memory",
    {},
    {
      members: new Map([
        ["memory", [701]],
        ["pids", [700]],
      ]),
    },
  ],
  ["pids.max", {}, { cgroupFaults: ["pids.max is 4096"] }],
];

test("every difference is a fault that names its property", () => {
  for (const [property, facts, expectation] of differences) {
    const faults = jailFaults({ ...confined, ...facts }, jail, { ...expected, ...expectation });
    assert.ok(
      faults.some((fault) => fault.startsWith(`${property} is`)),
      `${property}: ${JSON.stringify(faults)}`,
    );
  }
});

test("before the guest may run, one thread with a filter is enough, and a kind of jail decides what it has of its own", () => {
  const early = { ...jail, filteredThreads: "some" as const, ownNamespaces: ["mnt", "pid", "net"] as const };
  const facts = { ...confined, seccompModes: [0, 2], namespaces: { ...confined.namespaces, ipc: "4", uts: "5" } };
  assert.deepEqual(jailFaults(facts, early, expected), []);
  assert.match(jailFaults({ ...facts, seccompModes: [0, 0] }, early, expected).join(), /^seccomp is/);
});
