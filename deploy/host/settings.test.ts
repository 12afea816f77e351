/** The files that make a host pass, applied to a host in memory: what they set satisfies the controls that they name. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import type { ConntrackNumbers, HostView } from "@lobsterd/vm/posture/control.ts";
import { controls } from "@lobsterd/vm/posture/controls.ts";
import { viewOf } from "@lobsterd/vm/posture/testing/sound-host.ts";

/** One setting of a file, with the controls that its comment names. */
interface Setting {
  readonly file: string;
  readonly line: string;
  readonly controlIds: readonly string[];
}

const directory = import.meta.dirname;
const files = globSync("{*.d/*,kernel-command-line}", { cwd: directory });
const known = new Set(controls.map(({ id }) => id));

function settingsOf(file: string): readonly Setting[] {
  const lines = readFileSync(join(directory, file), "utf8").trim().split("\n");
  return lines.flatMap((line, index) => {
    if (line.startsWith("#")) return [];
    const comment = lines[index - 1]?.startsWith("#") === true ? (lines[index - 1] ?? "") : "";
    return [{ file, line, controlIds: comment.match(/\b[A-Z]+-?\d+\b(?=:)/g) ?? [] }];
  });
}

const settings = files.flatMap(settingsOf);

/** A host as the distribution leaves it, in what the files change. */
const untouched: Readonly<Record<string, string>> = {
  "/proc/sys/net/netfilter/nf_conntrack_max": "262144",
  "/proc/sys/net/netfilter/nf_conntrack_buckets": "65536",
  "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
  "/proc/sys/fs/protected_symlinks": "0",
  "/proc/sys/fs/protected_hardlinks": "0",
  "/proc/sys/fs/protected_fifos": "0",
  "/proc/sys/fs/protected_regular": "0",
  "/proc/sys/kernel/yama/ptrace_scope": "0",
  "/proc/sys/kernel/unprivileged_bpf_disabled": "0",
  "/proc/sys/kernel/dmesg_restrict": "0",
  "/proc/sys/kernel/kptr_restrict": "0",
  "/proc/sys/kernel/core_pattern": "core",
  "/proc/sys/vm/unprivileged_userfaultfd": "1",
  "/sys/module/kvm/parameters/min_timer_period_us": "200",
  "/sys/module/kvm/parameters/nx_huge_pages": "N",
  "/sys/module/kvm_intel/parameters/vmentry_l1d_flush": "cond",
  "/sys/kernel/mm/ksm/run": "1",
  "/sys/kernel/mm/ksm/pages_shared": "7",
  "/sys/kernel/mm/ksm/pages_sharing": "21",
  "/sys/devices/system/cpu/smt/active": "1",
  "/sys/devices/system/cpu/smt/control": "on",
  "/sys/power/disk": "[platform] shutdown reboot",
  "/proc/cmdline": "root=/dev/sda1 ro mitigations=off",
  "/dev/kvm": "0666",
  "/sys/fs/cgroup": "1",
};

/** What the kernel makes of each parameter of its command line. */
const bootEffects: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "nosmt=force": { "/sys/devices/system/cpu/smt/active": "0", "/sys/devices/system/cpu/smt/control": "forceoff" },
  "mitigations=auto,nosmt": { "/proc/cmdline": "root=/dev/sda1 ro mitigations=auto,nosmt" },
  nohibernate: { "/sys/power/disk": "[disabled]" },
  "systemd.unified_cgroup_hierarchy=1": { "/sys/fs/cgroup": "2" },
};

function apply(values: Map<string, string>, { file, line }: Setting): void {
  const set = (entries: Readonly<Record<string, string>>) => {
    for (const [path, value] of Object.entries(entries)) {
      assert.ok(values.has(path), `${line} sets ${path}, which the test does not know`);
      values.set(path, value);
    }
  };
  const kind = dirname(file) === "." ? basename(file) : dirname(file);
  if (kind === "sysctl.d") {
    const [, name = "", value = ""] = /^([\w.]+) = (\S+)$/.exec(line) ?? [];
    set({ [`/proc/sys/${name.replaceAll(".", "/")}`]: value });
  } else if (kind === "modprobe.d") {
    const [, module, parameter, value = ""] = /^options (\w+) (\w+)=(\w+)$/.exec(line) ?? [];
    // `auto` is on where the CPU has the erratum, as it has here.
    set({ [`/sys/module/${module}/parameters/${parameter}`]: value === "auto" ? "Y" : value });
  } else if (kind === "tmpfiles.d" && line.startsWith("w+ ")) {
    const [, path = "", , , , , value = ""] = line.split(" ");
    set({ [path]: value });
    // 2 stops and unmerges; 0 stops.
    if (value === "2") set({ "/sys/kernel/mm/ksm/pages_shared": "0", "/sys/kernel/mm/ksm/pages_sharing": "0" });
  } else if (kind === "tmpfiles.d") {
    const [, path = "", mode = ""] = /^z (\S+) (\d{4}) root kvm - -$/.exec(line) ?? [];
    set({ [path]: mode });
  } else if (kind === "kernel-command-line") {
    set(bootEffects[line] ?? { [line]: "" });
  } else assert.deepEqual([kind, line], ["modules-load.d", "nf_conntrack"]);
}

function hostWith(applied: readonly Setting[]): HostView {
  const values = new Map(Object.entries(untouched));
  for (const setting of applied) apply(values, setting);
  const { "/dev/kvm": kvmMode = "", "/sys/fs/cgroup": cgroup, ...texts } = Object.fromEntries(values);
  const read = (name: string) => Number(values.get(`/proc/sys/net/netfilter/${name}`));
  const conntrack: ConntrackNumbers = {
    max: read("nf_conntrack_max"),
    buckets: read("nf_conntrack_buckets"),
    establishedTimeoutSeconds: read("nf_conntrack_tcp_timeout_established"),
  };
  const tree = {
    ...texts,
    "/dev/kvm": { kind: "other", mode: Number.parseInt(kvmMode, 8), gid: 104 },
    "/sys/fs/cgroup": { kind: "directory", fileSystemType: cgroup === "2" ? 0x63677270 : 0x01021994 },
  } as const;
  return viewOf(tree, { conntrack: { ok: true, value: conntrack } });
}

async function unmet(host: HostView): Promise<readonly string[]> {
  const findings = await Promise.all(controls.map(async ({ id, check }) => [id, (await check(host)).verdict] as const));
  return findings.filter(([, verdict]) => verdict === "fail" || verdict === "unknown").map(([id]) => id);
}

test("every setting names a control that exists, in the line above it", () => {
  assert.ok(files.length >= 5 && settings.length >= 20, `${files.length} files, ${settings.length} settings`);
  for (const { file, line, controlIds } of settings) {
    assert.equal(controlIds.length, 1, `${file}: ${line}`);
    for (const id of controlIds) assert.ok(known.has(id), `${file}: ${line}: no control ${id}`);
  }
});

test("a host as the distribution leaves it fails the controls that the files name, and with all of them it fails none", async () => {
  const named = new Set(settings.flatMap(({ controlIds }) => controlIds));
  const before = await unmet(hostWith([]));
  assert.deepEqual(
    [...named].filter((id) => !before.includes(id)),
    [],
  );
  assert.deepEqual(await unmet(hostWith(settings)), []);
});

for (const setting of settings.filter(({ file }) => !file.startsWith("modules-load.d"))) {
  test(`without "${setting.line}" its control is not met`, async () => {
    const failed = await unmet(hostWith(settings.filter((other) => other !== setting)));
    for (const id of setting.controlIds) assert.ok(failed.includes(id), `${id} is met without it`);
  });
}
