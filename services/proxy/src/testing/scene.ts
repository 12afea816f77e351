/**
 * A network namespace of its own with real Caddy, guests at several addresses, and certificates for all of them. Nothing in
 * it is reachable from outside but by Unix sockets; `close` removes everything.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { CaddySettings } from "../caddy/caddy-config.ts";
import type { Config } from "../config.ts";
import type { GuestPlan } from "./guests.fixture.ts";
import { asUser, kill, run } from "./programs.ts";
import {
  type Authorities,
  caddyUid,
  domain,
  makeSceneDirectories,
  proxyUid,
  type ScenePaths,
  scenePaths,
  trustDomain,
  writeOwned,
  writeSceneCertificates,
} from "./scene-paths.ts";

/** As the development runner sets it: with 0117 the admin socket would be the same, but Caddy could not enter directories it makes. */
export const caddyUmask = 0o007;
export const patience = { timeoutMs: 15_000, intervalMs: 20 };
const environment = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/nonexistent" };

/** `certificateFor` is the tenant in the certificate, if it is not `name`; `authority` signs it. */
export type SceneGuest = {
  readonly name: string;
  readonly address: string;
  readonly certificateFor?: string;
  readonly authority?: keyof Authorities;
  /** What the guest takes for its own names, for guests that check; `name`'s own by default. */
  readonly hostNames?: readonly string[];
  /** Connections that the guest takes at a time, for guests that count. */
  readonly connectionLimit?: number;
};

/** Stands in for the guests: a script that reads a `GuestPlan` and prints a line with "listening". */
export const plainGuests = fileURLToPath(new URL("guests.fixture.ts", import.meta.url));

/** A process of the scene with everything it has printed so far. */
export type Started = { readonly process: ChildProcess; output(): string };

export type Scene = {
  readonly paths: ScenePaths;
  readonly authorities: Authorities;
  readonly caddyPath: string;
  /** Starts a process in the namespace as root. */
  start(argv: readonly string[], umask?: number): Started;
  /** Runs a program in the namespace to its end. */
  runInside(...argv: string[]): Promise<string>;
  close(): Promise<void>;
};

let opened = 0;

export async function openScene(caddyPath: string, addresses: readonly string[]): Promise<Scene> {
  opened += 1;
  const netns = `lobproxy-${process.pid}-${opened}`;
  const root = mkdtempSync("/tmp/lobsterd-proxy-");
  const memory = mkdtempSync("/dev/shm/lobsterd-proxy-");
  const paths = scenePaths(root, memory);
  const children: ChildProcess[] = [];
  const enter = ["nsenter", `--net=/run/netns/${netns}`, "--"];
  await run("ip", "netns", "add", netns);

  const close = async (): Promise<void> => {
    await Promise.all(children.map((child) => kill(child, "SIGKILL")));
    await run("ip", "netns", "delete", netns);
    for (const directory of [root, memory]) rmSync(directory, { recursive: true, force: true });
  };
  try {
    await run("ip", "-n", netns, "link", "set", "lo", "up");
    for (const address of addresses) await run("ip", "-n", netns, "address", "add", `${address}/32`, "dev", "lo");
    makeSceneDirectories([root, memory], paths);
    return {
      paths,
      caddyPath,
      authorities: await writeSceneCertificates(paths),
      start: (argv, umask = 0o077) => {
        const started = startProcess([...enter, ...argv], umask);
        children.push(started.process);
        return started;
      },
      runInside: (...argv) => run("nsenter", ...enter.slice(1), ...argv),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function startProcess(argv: readonly string[], umask: number): Started {
  const [command = "", ...rest] = argv;
  // The umask is inherited at the fork, which happens inside `spawn`.
  const previous = process.umask(umask);
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"], env: environment });
  process.umask(previous);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-1_000_000);
    });
  }
  return { process: child, output: () => output };
}

/** Caddy as its user, started with nothing but an admin block. Resolves when its admin socket answers. */
export async function startCaddy(scene: Scene): Promise<Started> {
  const caddy = scene.start(
    [
      ...asUser(caddyUid, caddyUid, ["net_bind_service"]),
      ...["env", `XDG_DATA_HOME=${scene.paths.caddyDirectory}`],
      scene.caddyPath,
      "run",
      "--config",
      scene.paths.initialCaddyConfig,
    ],
    caddyUmask,
  );
  await waitFor(
    "caddy started",
    async () => caddy.output().includes("serving initial configuration") || undefined,
    patience,
  );
  return caddy;
}

export async function startGuests(
  scene: Scene,
  guests: readonly SceneGuest[],
  fixture: string = plainGuests,
): Promise<Started> {
  const plan: GuestPlan = {
    clientCaPem: scene.authorities.platform.certificatePem,
    guests: await Promise.all(
      guests.map(async ({ name, address, certificateFor = name, authority = "guest", ...own }) => {
        const names = [{ type: "dns", value: `${certificateFor}.guest.internal` }] as const;
        const leaf = await scene.authorities[authority].issue(name, names);
        const { hostNames = [`${name}.guest.internal`, `${name}.${domain}`] } = own;
        return { name, address, port: 9000, hostNames, connectionLimit: own.connectionLimit, ...leaf };
      }),
    ),
  };
  writeOwned(scene.paths.guestPlan, JSON.stringify(plan), 0, 0o600);
  const started = scene.start([process.execPath, fixture, scene.paths.guestPlan]);
  await waitFor("guests listening", async () => started.output().includes("listening") || undefined, patience);
  return started;
}

/** The service itself, as its user, in the namespace. Resolves when its RPC socket is there. */
export async function startProxyProcess(scene: Scene): Promise<Started> {
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  writeOwned(scene.paths.proxyConfig, JSON.stringify(sceneConfig(scene.paths)), proxyUid, 0o400);
  const proxy = scene.start([
    ...asUser(proxyUid, proxyUid),
    process.execPath,
    main,
    "--config",
    scene.paths.proxyConfig,
  ]);
  await waitFor(
    "proxy serving",
    async () => {
      if (proxy.process.exitCode !== null) throw new Error(`proxy exited: ${proxy.output()}`);
      return proxy.output().includes('"serving"') || undefined;
    },
    patience,
  );
  return proxy;
}

export function sceneSettings(paths: ScenePaths, limits: CaddySettings["limits"]): CaddySettings {
  return {
    domain,
    adminSocketPath: paths.adminSocket,
    httpsListen: [`unix/${paths.httpsSocket}`, ":443"],
    redirectListen: [`unix/${paths.redirectSocket}`, ":80"],
    publicHttpsPort: 8443,
    certificates: { kind: "files", pairs: [paths.webLeaf, paths.shopLeaf] },
    guestCaPath: paths.guestCa,
    clientCertificatePath: paths.caddyLeaf.certificatePath,
    clientKeyPath: paths.caddyLeaf.keyPath,
    namesDirectory: paths.namesDirectory,
    wakeSocketPath: paths.wakeSocket,
    resolverPort: 5053,
    guestPort: 9000,
    limits,
  };
}

function sceneConfig(paths: ScenePaths): Record<string, unknown> {
  const {
    domain: frontDomain,
    limits,
    resolverPort,
    guestPort,
    namesDirectory,
    wakeSocketPath: _derived,
    ...caddy
  } = sceneSettings(paths, defaultLimits);
  return {
    service: "proxy",
    hostId: "scene",
    trustDomain,
    listen: { unixPath: paths.rpcSocket },
    tls: { ...paths.proxyLeaf, platformCaPath: paths.platformCa },
    stateDir: paths.state,
    rolesPath: paths.roles,
    revocationsPath: paths.revocations,
    domain: frontDomain,
    namesDirectory,
    resolverPort,
    guestPort,
    peers: { audit: paths.auditSocket, vm: paths.vmSocket },
    caddy: { ...caddy, limits },
  } satisfies Partial<Record<keyof Config, unknown>>;
}

export const defaultLimits: CaddySettings["limits"] = {
  maxHeaderBytes: 32_768,
  maxAnswerHeaderBytes: 65_536,
  maxBodyBytes: 1_048_576,
  readHeaderTimeoutMs: 1000,
  readTimeoutMs: 3000,
  idleTimeoutMs: 2000,
  dialTimeoutMs: 2000,
  responseHeaderTimeoutMs: 10_000,
  holdLimitMs: 2500,
  upstreamIdleMs: 5000,
};
