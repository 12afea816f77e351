import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const instanceNames = ["dev", "test", "bench"] as const;
export type InstanceName = (typeof instanceNames)[number];

/** The stack of a host that systemd runs; the runner never starts or stops it. */
export const hostInstanceName = "main";

export const serviceNames = ["vm", "net", "proxy", "secrets", "audit"] as const;
export type ServiceName = (typeof serviceNames)[number];

/** Ports on the machine's loopback that the supervisor hands to the instance. */
export type ForwardedPorts = Readonly<Record<ServiceName | "https" | "traces", number>>;

/** Every name, path and number that belongs to one stack; all of it follows from `name`, except where the checkout is. */
export interface Instance {
  readonly name: InstanceName | typeof hostInstanceName;
  /** Root of this checkout. */
  readonly checkout: string;
  readonly domain: string;
  readonly runDir: string;
  readonly stateDir: string;
  /** What each process is configured with, and the roles. */
  readonly configDir: string;
  /** The checkout as the instance's processes see it. */
  readonly appDir: string;
  /** Network namespace that everything but the launcher lives in, and the file that holds it. */
  readonly netns: string;
  readonly netnsPath: string;
  /** Network namespace that stands for the internet, and the file that holds it. */
  readonly outsideNetns: string;
  readonly outsideNetnsPath: string;
  readonly cgroup: string;
  /** The jail uid of slot 0. */
  readonly firstJailUid: number;
  readonly slotCount: number;
  readonly ports: ForwardedPorts;
  readonly controlSocketPath: string;
  /** File of shell variables for clients. */
  readonly environmentPath: string;
}

export const runRoot = "/run/lobsterd";
export const stateRoot = "/var/lib/lobsterd";

/** Ports inside the instance's namespace; instances do not share one, so the numbers need not differ. */
export const innerPorts = { nats: 4222, traces: 4318, http: 80, https: 443 } as const;

const jailUidBase = 900_000_000;
/** More uids than an instance may have slots (32,768). */
const jailUidsPerInstance = 100_000;

const numbers: Readonly<
  Record<Instance["name"], { readonly firstPort: number; readonly https: number; readonly index: number }>
> = {
  dev: { firstPort: 7601, https: 8443, index: 0 },
  test: { firstPort: 7651, https: 8453, index: 1 },
  bench: { firstPort: 7671, https: 8473, index: 2 },
  main: { firstPort: 7691, https: 443, index: 3 },
};

export const checkoutDir = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** The instance of that name. `checkout` defaults to the one that this file is in. */
export function describeInstance<N extends Instance["name"]>(
  name: N,
  checkout: string = checkoutDir,
): Instance & { readonly name: N } {
  const { firstPort, https, index } = numbers[name];
  const runDir = `${runRoot}/${name}`;
  const netns = `lobsterd-${name}`;
  const outsideNetns = `${netns}-outside`;
  return {
    name,
    checkout,
    domain: "lobsterd.localhost",
    runDir,
    stateDir: `${stateRoot}/${name}`,
    configDir: `${runDir}/config`,
    appDir: `${runDir}/app`,
    netns,
    netnsPath: `/run/netns/${netns}`,
    outsideNetns,
    outsideNetnsPath: `/run/netns/${outsideNetns}`,
    cgroup: `lobsterd-${name}`,
    firstJailUid: jailUidBase + index * jailUidsPerInstance,
    slotCount: 64,
    ports: {
      vm: firstPort,
      net: firstPort + 1,
      proxy: firstPort + 2,
      secrets: firstPort + 3,
      audit: firstPort + 4,
      traces: firstPort + 5,
      https,
    },
    controlSocketPath: `${runDir}/supervisor.sock`,
    environmentPath: `${checkout}/.run/${name === "dev" ? "env" : `env.${name}`}`,
  };
}

/** Whether `uid` is the jail uid of one of the instance's slots. */
export function isJailUid(instance: Instance, uid: number): boolean {
  return uid >= instance.firstJailUid && uid < instance.firstJailUid + jailUidsPerInstance;
}

/** Names of the stacks that the machine has files of, a host's own among them: users and parent directories serve them all. */
export function presentStacks(roots: readonly string[] = [runRoot, stateRoot]): string[] {
  return [...instanceNames, hostInstanceName].filter((name) => roots.some((root) => existsSync(`${root}/${name}`)));
}

export function isInstanceName(text: string): text is InstanceName {
  return (instanceNames as readonly string[]).includes(text);
}
