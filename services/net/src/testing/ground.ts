import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { createNetEvents } from "../events.ts";
import type { Drift } from "../firewall/drift.ts";
import { createProcessRunner, type ProcessRunner } from "../host/process.ts";
import { type NetworkStack, openNetworkStack, type StackConfig, type StackOptions } from "../network-stack.ts";
import { migrations } from "../networks/network-store.ts";
import { tearDown } from "../teardown.ts";
import type { ActorCommands } from "./actor.ts";

let sequence = 0;

/** Why host tests cannot run here, or `false`. */
export const cannotRun: string | false = process.getuid?.() === 0 ? false : "needs root";

/** Addresses of the test's world. All of it is inside namespaces made here. */
export const world = {
  uplink: "up0",
  host: "45.0.0.1",
  internet: "45.0.0.2",
  lan: "46.0.0.2",
  /** In a denied range, so that only the rule for resolvers lets it be reached; the internet answers for it. */
  resolver: "10.99.0.53",
} as const;

/** A tenth of what a host uses, so that a limit is reached in a moment. */
export const testConnectionLimit = 100;

/** The internet, as fast as the test can send. */
export const unlimited = {
  egress: { mode: "internet" },
  limits: { sentKbits: 1_000_000, receivedKbits: 1_000_000, sentPackets: 1_000_000, receivedPackets: 1_000_000 },
} as const;

/** What a tenant has that asks for nothing. */
export const usual = {
  egress: { mode: "internet" },
  limits: { sentKbits: 10_000, receivedKbits: 10_000, sentPackets: 1000, receivedPackets: 1000 },
} as const;

/** What a test puts in the place of the stack's own. */
export type StackParts = Partial<Pick<StackOptions, "now" | "conntrack" | "runner">>;

/** A namespace in place of the host, one in place of the internet, one in place of another network behind the host. */
export interface Ground {
  readonly directory: string;
  readonly netnsDir: string;
  readonly host: ProcessRunner;
  readonly internet: ProcessRunner;
  readonly published: Drift[];
  path(name: string): string;
  /** A further namespace. */
  namespace(name: string): Promise<ProcessRunner>;
  openStack(config?: Partial<StackConfig>, options?: StackParts): Promise<NetworkStack>;
  actor(name: string): Promise<Actor>;
  remove(): Promise<void>;
}

export type Actor = ActorCommands & { close(): Promise<void> };

export async function makeGround(): Promise<Ground> {
  const prefix = `lobnet-test-${process.pid}-${++sequence}`;
  const root = createProcessRunner();
  const directory = mkdtempSync(join(tmpdir(), "lobnet-"));
  const netnsDir = join(directory, "netns");
  mkdirSync(netnsDir);
  const names: string[] = [];
  const databases: DatabaseSync[] = [];
  const actors: Actor[] = [];
  const stacks: NetworkStack[] = [];
  const published: Drift[] = [];
  const path = (name: string): string => `/run/netns/${prefix}-${name}`;

  async function namespace(name: string): Promise<ProcessRunner> {
    await root.run(["ip", "netns", "add", `${prefix}-${name}`]);
    names.push(name);
    return createProcessRunner(path(name));
  }

  async function remove(): Promise<void> {
    await Promise.all(actors.map((actor) => actor.close()));
    for (const stack of stacks) stack.close();
    for (const database of databases) if (database.isOpen) database.close();
    if (names.includes("host")) await tearDown(netnsDir, createProcessRunner(path("host")));
    for (const name of names) await root.run(["ip", "netns", "delete", `${prefix}-${name}`]);
    rmSync(directory, { recursive: true, force: true });
  }

  try {
    const host = await namespace("host");
    const internet = await namespace("internet");
    await namespace("lan");
    await connect(host, world.uplink, "45.0.0.1/24", path("internet"), "45.0.0.2/24");
    await connect(host, "lan0", "46.0.0.1/24", path("lan"), "46.0.0.2/24");
    await host.run(["ip", "route", "add", "default", "via", world.internet]);
    // A neighbour that knows the way to the guests, and has an answer for every address.
    await internet.run(["ip", "route", "add", "10.0.0.0/8", "via", world.host]);
    await internet.run(["ip", "address", "add", `${world.resolver}/32`, "dev", "lo"]);
    await internet.run(["ip", "route", "add", "46.0.0.0/24", "via", world.host]);
    await createProcessRunner(path("lan")).run(["ip", "route", "add", "default", "via", "46.0.0.1"]);
    await internet.run(["ip", "route", "add", "local", "default", "dev", "lo", "table", "local"]);
    return {
      directory,
      netnsDir,
      host,
      internet,
      published,
      path,
      namespace,
      remove,
      async openStack(config = {}, options = {}) {
        const database = openDatabase(join(directory, "net.sqlite"), migrations);
        databases.push(database);
        const logger = createLogger({ service: "net", level: "silent" });
        const events = createNetEvents({
          bus: { publish: () => undefined },
          audit: { append: async () => undefined },
          logger,
        });
        const stack = await openNetworkStack({
          config: {
            netnsDir,
            slotCount: 4,
            jailUidBase: 900_000_000,
            uplinkInterface: world.uplink,
            resolverAddresses: [world.resolver],
            connectionLimit: testConnectionLimit,
            defaultLimits: usual.limits,
            addressQuarantineMs: 0,
            slotReadyTimeoutMs: 20_000,
            kernelAccess: "netlink",
            ...config,
          },
          runner: options.runner ?? host,
          hostNamespace: path("host"),
          database,
          events: { ...events, driftRepaired: (drift) => void published.push(drift) },
          logger,
          now: options.now ?? Date.now,
          ...(options.conntrack === undefined ? {} : { conntrack: options.conntrack }),
        });
        stacks.push(stack);
        return stack;
      },
      async actor(name) {
        const actor = await startActor(path(name));
        actors.push(actor);
        return actor;
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

export async function connect(
  near: ProcessRunner,
  link: string,
  nearAddress: string,
  farPath: string,
  farAddress: string,
): Promise<void> {
  const far = createProcessRunner(farPath);
  await near.run(["ip", "link", "add", "name", link, "type", "veth", "peer", "name", "eth0", "netns", farPath]);
  await near.run(["ip", "address", "add", nearAddress, "dev", link]);
  await near.run(["ip", "link", "set", "dev", link, "up"]);
  await far.run(["ip", "address", "add", farAddress, "dev", "eth0"]);
  await far.run(["ip", "-batch", "-"], { input: "link set dev lo up\nlink set dev eth0 up\n" });
}

async function startActor(path: string): Promise<Actor> {
  const file = new URL("./actor.ts", import.meta.url).pathname;
  const child: ChildProcess = spawn("nsenter", [`--net=${path}`, "--", process.execPath, file], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const waiting = new Map<number, (result: unknown) => void>();
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let last = 0;
  child.on("message", ({ id, result }: { id: number; result: unknown }) => {
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  await new Promise((resolve) => waiting.set(0, resolve));
  const call =
    (name: string) =>
    (...parameters: unknown[]): Promise<unknown> =>
      new Promise((resolve) => {
        const id = ++last;
        waiting.set(id, resolve);
        child.send({ id, name, parameters });
      });
  const names = [
    "listen",
    "connect",
    "hold",
    "use",
    "count",
    "counted",
    "send",
    "burst",
    "stream",
    "measured",
  ] as const;
  const commands = Object.fromEntries(names.map((name) => [name, call(name)])) as unknown as ActorCommands;
  return {
    ...commands,
    async close() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
