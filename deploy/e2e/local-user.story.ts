import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { instanceFiles } from "../dev/configuration.ts";
import { describeInstance, serviceNames } from "../dev/instance.ts";
import { nodePath, type ProcessName } from "../dev/processes.ts";
import { openStack } from "../dev/stack.ts";
import type { Probe } from "./local-user-probes.fixture.ts";
import { env, evict, instance, spawn } from "./subject.ts";

const stack = openStack(describeInstance(instance));
const { appDir, runDir, stateDir, firstJailUid, controlSocketPath } = stack.instance;
const tenant = "bystander";
const ordinaryUser = "60001";
let vmId = "";
let slot = 0;

before(async () => {
  ({ slot, vmId } = await spawn(tenant));
});

after(() => evict(tenant));

/** Runs the probes as somebody; one outcome each. */
function attempt(as: readonly string[], probes: readonly Probe[]): string[] {
  const [program = "", ...rest] = [
    ...as,
    nodePath(stack.instance),
    `${appDir}/deploy/e2e/local-user-probes.fixture.ts`,
  ];
  const { status, stdout, stderr } = spawnSync(program, rest, {
    input: JSON.stringify(probes),
    encoding: "utf8",
    timeout: 60_000,
    cwd: "/",
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as string[];
}

const asOrdinaryUser = [
  ...["setpriv", "--reuid", ordinaryUser, "--regid", ordinaryUser, "--clear-groups"],
  ...["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"],
];

function vmmPid(): string {
  const uid = String(firstJailUid + slot);
  const pid = readdirSync("/proc").find((name) => {
    const status =
      /^\d+$/.test(name) && existsSync(`/proc/${name}/status`) ? readFileSync(`/proc/${name}/status`, "utf8") : "";
    return status.includes(`\nUid:\t${uid}\t`);
  });
  assert.ok(pid !== undefined, `no process of uid ${uid}`);
  return pid;
}

const each = (kind: Probe["attempt"], ...targets: readonly string[]): Probe[] =>
  targets.map((target) => ({ attempt: kind, target }));

/** What exists and is somebody else's: sockets, files, directories, processes, namespaces, devices. */
async function foreign(): Promise<Probe[]> {
  const names: ProcessName[] = ["vm", "vm-launcher", "net", "proxy", "secrets", "audit", "caddy", "nats"];
  const pids = new Map(await Promise.all(names.map(async (name) => [name, String(await stack.pid(name))] as const)));
  const vmm = vmmPid();
  const pidOf = (name: ProcessName) => pids.get(name) ?? "";
  return [
    ...each("connect", ...serviceNames.map((name) => `${runDir}/${name}/rpc.sock`)),
    ...each("connect", `${runDir}/caddy-names/.wake.sock`),
    ...each("connect", `${runDir}/vm-launcher/launcher.sock`, `${runDir}/caddy-admin/admin.sock`, controlSocketPath),
    ...each("read", `${runDir}/config/vm.json`, `${runDir}/config/vm-launcher.json`, `${runDir}/log/secrets.log`),
    ...each("read", `${runDir}/jails/${vmId}/identity.img`, `${stateDir}/vms/${vmId}/overlay.ext4`),
    ...each("read", `${stateDir}/vms/${vmId}/record.json`, instanceFiles(stack.instance).rootKeyPath),
    ...each("read", `${stateDir}/certificates/platform-ca-key.pem`, env.LOBSTERD_KEY),
    ...each("list", `${runDir}/jails/${vmId}`, `${stateDir}/vms`, `${runDir}/process`, `${runDir}/vm-launcher`),
    ...each("list", ...serviceNames.map((name) => `${stateDir}/${name}`), `${stateDir}/caddy`, `${stateDir}/nats`),
    ...each("read", ...["secrets", "vm", "vm-launcher"].map((name) => `/proc/${pidOf(name as ProcessName)}/environ`)),
    ...each("follow", `/proc/${vmm}/root`, `/proc/${vmm}/ns/net`, `/proc/${pidOf("secrets")}/cwd`),
    ...each("read", `/proc/${vmm}/mem`, `/proc/${pidOf("secrets")}/mem`, `/proc/${vmm}/maps`),
    ...each("signal", vmm, ...pids.values()),
    ...each("enter", `${runDir}/netns/slot-${slot}`, `/proc/${vmm}/ns/net`),
    ...each("write", "/dev/kvm"),
  ].filter(({ target }) => target !== "/dev/kvm" || existsSync(target));
}

/** Objects in the places where a privileged process will make or open one of its own. */
function planted(): Probe[] {
  const next = "5a".repeat(16);
  return [
    ...each("make-directory", `${runDir}/jails/${next}`, `${stateDir}/vms/${next}`, `${stateDir}/vmm/planted`),
    ...each("make-link", `${runDir}/jails/${next}.link`, `${stateDir}/vms/${next}.link`, `${runDir}/netns/slot-9999`),
    ...each("make-fifo", `${runDir}/jails/${next}.fifo`, `${runDir}/log/planted.log`, `${runDir}/config/planted.json`),
    ...each("make-file", `${runDir}/process/planted`, `${stateDir}/images/planted`, `${stateDir}/planted`),
    ...each("make-file", `${runDir}/planted`, `${runDir}/caddy-names/planted`, `${runDir}/process/vm-launcher`),
  ];
}

test("an ordinary local user gets nowhere: sockets, files, chroots, namespaces, processes, planted files", async (context) => {
  const probes = [...(await foreign()), ...planted()];
  const kvm = lstatSync("/dev/kvm", { throwIfNoEntry: false });
  context.diagnostic(
    `${probes.length} probes; /dev/kvm ${kvm === undefined ? "is not there" : `has mode ${(kvm.mode & 0o777).toString(8)}`}`,
  );
  assert.ok(probes.length >= 40, `${probes.length} probes`);
  const outcomes = attempt(asOrdinaryUser, probes);
  const refusals = ["EACCES", "EPERM"];
  const wrong = probes.flatMap(({ attempt: kind, target }, index) =>
    refusals.includes(outcomes[index] ?? "") ? [] : [`${kind} ${target}: ${outcomes[index]}`],
  );
  for (const { target } of planted()) if (target.includes("planted")) rmSync(target, { recursive: true, force: true });
  assert.deepEqual(wrong, []);
});

test("the same probes of what exists come through for root: it is permission that stops the others", async () => {
  const probes = await foreign();
  const outcomes = attempt([], probes);
  const failed = probes.flatMap(({ attempt: kind, target }, index) =>
    // Address 0 of a process's memory is not mapped.
    outcomes[index] === "done" || target.endsWith("/mem") ? [] : [`${kind} ${target}: ${outcomes[index]}`],
  );
  assert.deepEqual(failed, []);
});
