import { type Directory, runDirectories, stateDirectories } from "../dev/directories.ts";
import type { Instance } from "../dev/instance.ts";
import { type ProcessSpec, processSpecs } from "../dev/processes.ts";
import { configDir, guestsSlice, guestsUnit } from "./host-instance.ts";
import { type HostProcess, hostProcesses, reaches, sandboxOf } from "./sandbox.ts";
import { commandLine, type Settings, type Unit, unitText } from "./unit-file.ts";

export const targetUnit = "lobsterd.target";
/** Name of the root key among the credentials of `secrets`, and the file that systemd decrypts it from. */
export const rootKeyCredential = "lobsterd-root";
export const rootKeyPath = `${configDir}/${rootKeyCredential}.cred`;

const notice = "Written by `make install` from deploy/systemd; a change belongs in a drop-in (systemctl edit).";

export function unitOf(process: HostProcess): string {
  return `lobsterd-${process}.service`;
}

/** Every unit of a host: file name to text. Pure. */
export function unitFiles(instance: Instance): ReadonlyMap<string, string> {
  const specs = new Map<string, ProcessSpec>(processSpecs(instance).map((spec) => [spec.name, spec]));
  const services = hostProcesses.map((process): [string, string] => {
    const spec = specs.get(process);
    if (spec === undefined) throw new Error(`no process ${process}`);
    return [unitOf(process), unitText(serviceUnit(instance, process, spec), notice)];
  });
  return new Map([
    ...services,
    [
      guestsUnit,
      unitText(guests(), `${notice}\nHolds the cgroups of all guests; nothing but a shutdown of the host ends it.`),
    ],
    [guestsSlice, unitText({ Unit: { Description: "lobsterd: guests" } }, notice)],
    [targetUnit, unitText(target(), notice)],
  ]);
}

function serviceUnit(instance: Instance, process: HostProcess, spec: ProcessSpec): Unit {
  const startsGuests = process === "vm-launcher";
  return {
    Unit: {
      Description: `lobsterd: ${process}`,
      // Stopping or restarting the target reaches the processes; guests are no part of it.
      PartOf: targetUnit,
      After: startsGuests ? `network.target ${guestsUnit}` : "network.target",
      ...(startsGuests ? { Wants: guestsUnit } : {}),
      StartLimitIntervalSec: "0",
    },
    Service: {
      Type: "exec",
      ExecStart: commandLine(spec.command),
      // The broker reads its certificate again; the others look at theirs each second.
      ...(process === "nats" ? { ExecReload: "/bin/kill -HUP $MAINPID" } : {}),
      ...account(spec),
      UMask: spec.umask.toString(8).padStart(4, "0"),
      Environment: Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`),
      // Where telemetry goes (OTEL_EXPORTER_OTLP_ENDPOINT), if not to a collector on this host.
      EnvironmentFile: `-${configDir}/environment`,
      Restart: "always",
      RestartSec: "1",
      TimeoutStopSec: "15",
      ...(startsGuests ? { KillMode: "process" } : {}),
      ...(spec.network === "empty" ? { PrivateNetwork: "yes" } : {}),
      ...(process === "secrets" ? { LoadCredentialEncrypted: `${rootKeyCredential}:${rootKeyPath}` } : {}),
      ...sandboxOf(reaches[process], ownedBy(instance, spec.user), closedTo(instance, spec.user)),
    },
  };
}

function account({ user, supplementaryGroups, capabilities }: ProcessSpec): Settings {
  const set = capabilities.map((name) => `CAP_${name}`).join(" ");
  return {
    User: user,
    Group: user,
    ...(supplementaryGroups.length === 0 ? {} : { SupplementaryGroups: supplementaryGroups.join(" ") }),
    CapabilityBoundingSet: set,
    AmbientCapabilities: set,
  };
}

/**
 * A unit without a process, whose cgroup the launcher divides. It may not be stopped by hand: that would end every guest. At
 * shutdown it is, which is before the disks of the guests are unmounted.
 */
function guests(): Unit {
  return {
    Unit: { Description: "lobsterd: cgroups of guests", RefuseManualStop: "yes" },
    Service: {
      Type: "oneshot",
      RemainAfterExit: "yes",
      ExecStart: "/bin/true",
      Slice: guestsSlice,
      Delegate: "cpu io memory pids",
      TasksMax: "infinity",
      LimitCORE: "0",
      OOMPolicy: "continue",
      DevicePolicy: "closed",
      // What a jail has: every VMM opens its own nodes of these.
      DeviceAllow: ["/dev/kvm rw", "/dev/net/tun rw"],
    },
  };
}

function target(): Unit {
  return {
    Unit: {
      Description: "lobsterd",
      Wants: [...hostProcesses.map(unitOf), guestsUnit].join(" "),
      After: "network.target",
    },
    Install: { WantedBy: "multi-user.target" },
  };
}

function ownedBy(instance: Instance, user: string): string[] {
  return directories(instance).flatMap((one) => (one.user === user ? [one.path] : []));
}

/** State of other users. Its modes say the same; a second lock costs one line. */
function closedTo(instance: Instance, user: string): string[] {
  return stateDirectories(instance).flatMap((one) => (one.user !== user && one.mode === 0o700 ? [one.path] : []));
}

function directories(instance: Instance): Directory[] {
  return [...runDirectories(instance), ...stateDirectories(instance)];
}
