/** The units of a host against docs/architecture.md, against the development runner's processes, and against systemd's own judgement. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { stateDirectories } from "../dev/directories.ts";
import { parsePrivilegeTable } from "../dev/privilege-table.ts";
import { processSpecs } from "../dev/processes.ts";
import { describeHost, guestsSlice, guestsUnit } from "./host-instance.ts";
import { hostProcesses, reaches } from "./sandbox.ts";
import { parseUnit } from "./unit-file.ts";
import { targetUnit, unitFiles, unitOf } from "./units.ts";

const host = describeHost("tenants.example.org", 100);
const files = unitFiles(host);
const architecture = readFileSync(new URL("../../docs/architecture.md", import.meta.url), "utf8");
const units = new Map([...files].map(([name, text]) => [name, parseUnit(text)]));

/** Every value of a setting of a unit's section; none when it is not set. */
function values(unit: string, section: string, key: string): readonly string[] {
  return units.get(unit)?.get(section)?.get(key) ?? [];
}

/** The one value of a setting of `[Service]`, `undefined` when it is not set. */
function service(unit: string, key: string): string | undefined {
  const found = values(unit, "Service", key);
  assert.ok(found.length <= 1, `${unit} sets ${key} ${found.length} times`);
  return found[0];
}

const capabilities = (unit: string, key: string) =>
  (service(unit, key) ?? "")
    .split(" ")
    .filter(Boolean)
    .map((name) => name.replace("CAP_", ""))
    .sort();

test("there is a unit for each process of the architecture page, with its user and capabilities", () => {
  const rows = parsePrivilegeTable(architecture);
  assert.deepEqual(rows.map(({ process }) => process).sort(), [...hostProcesses].sort());
  for (const { process, user, capabilities: wanted } of rows) {
    const unit = `lobsterd-${process}.service`;
    assert.ok(units.has(unit), unit);
    assert.equal(service(unit, "User"), user, unit);
    assert.equal(service(unit, "Group"), user, unit);
    assert.deepEqual(capabilities(unit, "CapabilityBoundingSet"), wanted, `${unit} bounding`);
    assert.deepEqual(capabilities(unit, "AmbientCapabilities"), wanted, `${unit} ambient`);
  }
});

/** The table below `## Units`. */
function reachTable() {
  const section = architecture.split(/^## /m).find((part) => part.startsWith("Units\n")) ?? "";
  return section.split("\n").flatMap((line) => {
    const [, process, families = "", networks = "", devices = ""] = line
      .split("|")
      .map((cell) => cell.trim().replaceAll("`", ""));
    return process !== undefined && /^[a-z][a-z-]+$/.test(process) ? [{ process, families, networks, devices }] : [];
  });
}

test("address families, networks and devices are those of the architecture page", () => {
  const rows = reachTable();
  assert.deepEqual(rows.map(({ process }) => process).sort(), [...hostProcesses].sort());
  for (const { process, families, networks, devices } of rows) {
    const unit = `lobsterd-${process}.service`;
    const wanted = families.split(" ").map((name) => `AF_${name}`);
    assert.deepEqual(service(unit, "RestrictAddressFamilies")?.split(" ").sort(), wanted.sort(), unit);
    if (networks === "any") assert.equal(service(unit, "IPAddressDeny"), undefined, unit);
    else {
      assert.equal(service(unit, "IPAddressDeny"), "any", unit);
      assert.equal(service(unit, "IPAddressAllow"), networks, unit);
    }
    const granted = values(unit, "Service", "DeviceAllow");
    assert.deepEqual(granted, devices === "none" ? [] : devices.split(", "), unit);
    assert.ok(service(unit, "PrivateDevices") === "yes" || service(unit, "DevicePolicy") === "closed", unit);
  }
});

test("what every unit has, whatever its process", () => {
  const wanted = { NoNewPrivileges: "yes", LimitCORE: "0", LockPersonality: "yes", ProtectClock: "yes" };
  const more = {
    ProtectHostname: "yes",
    RestrictSUIDSGID: "yes",
    RestrictRealtime: "yes",
    SystemCallArchitectures: "native",
  };
  for (const process of hostProcesses) {
    for (const [key, value] of Object.entries({ ...wanted, ...more })) {
      assert.equal(service(unitOf(process), key), value, `${process} ${key}`);
    }
    assert.equal(service(unitOf(process), "UMask"), process === "caddy" ? "0007" : "0077", process);
    assert.ok(values(unitOf(process), "Service", "SystemCallFilter").length > 0, process);
  }
});

test("a unit starts what the development runner starts, with its groups and environment", () => {
  const specs = new Map<string, ReturnType<typeof processSpecs>[number]>(
    processSpecs(host).map((spec) => [spec.name, spec]),
  );
  for (const process of hostProcesses) {
    const spec = specs.get(process);
    assert.equal(service(unitOf(process), "ExecStart"), spec?.command.join(" "), process);
    assert.ok(service(unitOf(process), "ExecStart")?.startsWith("/opt/lobsterd/current/"), process);
    assert.equal(service(unitOf(process), "SupplementaryGroups") ?? "", spec?.supplementaryGroups.join(" "), process);
    assert.equal(service(unitOf(process), "PrivateNetwork"), spec?.network === "empty" ? "yes" : undefined, process);
    const environment = Object.entries(spec?.environment ?? {}).map(([name, value]) => `${name}=${value}`);
    assert.deepEqual(values(unitOf(process), "Service", "Environment"), environment, process);
  }
});

test("only programs that compile nothing are denied memory that is written and executed", () => {
  for (const process of hostProcesses) {
    const isNode = service(unitOf(process), "ExecStart")?.includes("/bin/node ") === true;
    assert.equal(service(unitOf(process), "MemoryDenyWriteExecute"), isNode ? undefined : "yes", process);
  }
});

test("a process writes to its own directories and cannot enter those of others' state", () => {
  for (const process of hostProcesses.filter((name) => reaches[name].ownMounts)) {
    const unit = unitOf(process);
    assert.equal(service(unit, "ProtectSystem"), "strict", unit);
    const user = service(unit, "User");
    const closed = service(unit, "InaccessiblePaths")?.split(" ") ?? [];
    const writable = service(unit, "ReadWritePaths")?.split(" ") ?? [];
    for (const one of stateDirectories(host).filter(({ mode }) => mode === 0o700)) {
      assert.equal(writable.includes(one.path), one.user === user, `${unit} ${one.path}`);
      assert.equal(closed.includes(`-${one.path}`), one.user !== user, `${unit} ${one.path}`);
    }
  }
});

/** Each of these gives a unit a mount namespace, from which no mount reaches the host's. */
const mountSettings =
  /^(Protect(System|Home|Proc|Kernel\w+|ControlGroups)|Private(Tmp|Devices|IPC|Users)|ProcSubset|\w+Paths|TemporaryFileSystem|Root\w+|MountFlags)$/;

test("net and the launcher work in the host's mount namespace: a slot that net mounts is there for a VMM, and after net restarts", () => {
  for (const process of ["net", "vm-launcher"] as const) {
    const keys = [...(units.get(unitOf(process))?.get("Service")?.keys() ?? [])];
    assert.deepEqual(
      keys.filter((key) => mountSettings.test(key)),
      [],
      process,
    );
    assert.equal(service(unitOf(process), "PrivateMounts"), "no");
  }
});

test("no restart, stop or upgrade of a process reaches a guest", () => {
  assert.equal(service(unitOf("vm-launcher"), "KillMode"), "process");
  assert.equal(host.cgroup, `lobsterd.slice/${guestsSlice}/${guestsUnit}`);
  assert.equal(service(guestsUnit, "Slice"), guestsSlice);
  assert.equal(service(guestsUnit, "Delegate"), "cpu io memory pids");
  assert.equal(service(guestsUnit, "TasksMax"), "infinity");
  assert.deepEqual(values(guestsUnit, "Unit", "RefuseManualStop"), ["yes"]);
  // systemd stops a unit with another one for these alone.
  for (const key of ["PartOf", "BindsTo", "Requires", "Requisite", "StopWhenUnneeded"]) {
    assert.deepEqual(values(guestsUnit, "Unit", key), [], key);
  }
  for (const process of hostProcesses) {
    assert.deepEqual(values(unitOf(process), "Unit", "PartOf"), [targetUnit]);
    assert.equal(service(unitOf(process), "Slice"), undefined, process);
    for (const key of ["PropagatesStopTo", "Conflicts"]) assert.deepEqual(values(unitOf(process), "Unit", key), []);
  }
});

test("the target starts every process and what holds the guests", () => {
  const wanted = values(targetUnit, "Unit", "Wants").join(" ").split(" ").sort();
  assert.deepEqual(wanted, [...hostProcesses.map(unitOf), guestsUnit].sort());
});

/** Highest exposure that SYS-01 allows, and for those that it does not name, what they have. */
const ceilings = { secrets: 2, audit: 2, proxy: 2, net: 4, vm: 6.5, "vm-launcher": 5, caddy: 2, nats: 2 } as const;

const analyze = spawnSync("systemd-analyze", ["--version"]).status === 0;
let directory = "";

before(() => {
  directory = mkdtempSync(join(tmpdir(), "lobsterd-units-"));
  for (const [name, text] of files) writeFileSync(join(directory, name), text);
});
after(() => rmSync(directory, { recursive: true }));

for (const process of hostProcesses) {
  test(`systemd-analyze security: lobsterd-${process} is exposed at most ${ceilings[process]}`, (t) => {
    if (!analyze) return t.skip("no systemd-analyze on this machine");
    const parameters = ["security", "--offline=true", "--no-pager", join(directory, unitOf(process))];
    const printed = execFileSync("systemd-analyze", parameters, {
      encoding: "utf8",
      env: { ...globalThis.process.env, LC_ALL: "C" },
    });
    const exposure = Number(/Overall exposure level for \S+: ([0-9.]+)/.exec(printed)?.[1]);
    assert.ok(exposure > 0 && exposure <= ceilings[process], `exposed ${exposure}`);
  });
}

test("systemd-analyze verify finds nothing in any unit", (t) => {
  if (!analyze) return t.skip("no systemd-analyze on this machine");
  // The programs are not installed here, and a unit whose program is missing is not looked at any further.
  for (const [name, text] of files) {
    writeFileSync(join(directory, name), text.replace(/^ExecStart=\S+/m, "ExecStart=/bin/true"));
  }
  const { stderr, status } = spawnSync(
    "systemd-analyze",
    ["verify", "--man=no", ...[...files.keys()].map((name) => join(directory, name))],
    {
      encoding: "utf8",
      env: { ...globalThis.process.env, LC_ALL: "C" },
    },
  );
  const ours = stderr.split("\n").filter((line) => line.includes("lobsterd"));
  assert.deepEqual(ours, []);
  assert.equal(status, 0, stderr);
});
