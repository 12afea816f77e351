import { fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { networkAccess } from "@lobsterd/net/access.ts";
import { netConfigSchema } from "@lobsterd/net/config.ts";
import { readConntrackFacts } from "@lobsterd/net/host/conntrack-facts.ts";
import type { NetworkStack } from "@lobsterd/net/network-stack.ts";
import { networkRoutes } from "@lobsterd/net/routes.ts";
import { type Ground, makeGround, usual, world } from "@lobsterd/net/testing/ground.ts";
import { callsOf } from "./child-calls.ts";

/**
 * HOST-05 admits as many tenants as the kernel's table has room for at this limit each; the table's size is the machine's and cannot be
 * changed from a namespace, so a thousand tenants take less than the usual 1,024.
 */
export const connectionLimit = 64;

/** Limits that shape nothing at the speeds of this bench. */
export const unshaped = {
  egress: { mode: "internet" },
  limits: {
    sentKbits: 10_000_000,
    receivedKbits: 10_000_000,
    sentPackets: 1_000_000,
    receivedPackets: 1_000_000,
  },
} as const;

/** A host of its own with so many tenants, and warm slots beside theirs. */
export interface World {
  readonly ground: Ground;
  readonly stack: NetworkStack;
  readonly tenants: number;
  /** Slots without a tenant, warm at the beginning. */
  readonly spares: readonly number[];
  /** AttachNetwork and DetachNetwork over the Unix socket by another process, as vm calls them; its milliseconds. */
  attachByRpc(vmId: string, slot: number): Promise<number>;
  detachByRpc(vmId: string): Promise<number>;
  /** The same process's calls that read one network, one after the other; milliseconds of all of them. */
  readByRpc(calls: number): Promise<number>;
  /** Until every slot is warm again. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

export const newVmId = (): string => randomUUID().replaceAll("-", "");

export async function makeWorld(tenants: number, spareCount: number): Promise<World> {
  const ground = await makeGround();
  const slotCount = tenants + spareCount;
  try {
    const stack = await ground.openStack({ slotCount, connectionLimit, slotReadyTimeoutMs: 60_000 });
    await stack.pool.fill(new AbortController().signal);
    for (let slot = 0; slot < tenants; slot += 1) {
      // The last one is the one that traffic is measured of.
      await stack.networks.attach({ vmId: newVmId(), slot, ...(slot === tenants - 1 ? unshaped : usual) });
    }
    const rpc = await serve(ground, stack, slotCount);
    const isSettled = async (): Promise<true | undefined> =>
      stack.pool.warm().size === slotCount && stack.store.retired().length === 0 ? true : undefined;
    return {
      ...{ ground, stack, tenants, ...rpc },
      spares: Array.from({ length: spareCount }, (_, index) => tenants + index),
      settle: async () => void (await waitFor("warm slots", isSettled, { timeoutMs: 30_000, intervalMs: 5 })),
      async close() {
        await rpc.stop();
        await ground.remove();
      },
    };
  } catch (error) {
    await ground.remove();
    throw error;
  }
}

async function serve(ground: Ground, stack: NetworkStack, slotCount: number) {
  const directory = join(ground.directory, "service");
  mkdirSync(directory);
  const authority = testCertificates(join(directory, "pki"));
  const files = (name: string) => ({
    ...authority.issue(name, [`spiffe://bench/svc/${name}`]),
    platformCaPath: authority.caPath,
  });
  const rolesPath = join(directory, "roles.json");
  writeFileSync(rolesPath, "{}");
  const revocationsPath = join(directory, "revocations.json");
  writeFileSync(revocationsPath, "{}");
  const unixPath = join(directory, "rpc.sock");
  const config = netConfigSchema.parse({
    ...{ service: "net", hostId: "bench", trustDomain: "bench", logLevel: "error", listen: { unixPath } },
    ...{ tls: files("net"), stateDir: directory, rolesPath, revocationsPath, netnsDir: ground.netnsDir },
    ...{ slotCount, connectionLimit, jailUidBase: 1, uplinkInterface: world.uplink, addressQuarantineMs: 0 },
    ...{ peers: { audit: join(directory, "audit.sock") }, shutdownGraceMs: 200 },
  });
  const logger = createLogger({ service: "net", level: "silent" });
  const database = openDatabase(join(directory, "requests.sqlite"), []);
  const requests = openRequestLog(database, "process");
  const conntrack = readConntrackFacts;
  const routes = [networkRoutes({ ...stack, requests, conntrack, settings: config, now: Date.now })];
  const server = await startServer({ config, logger, routes, access: [networkAccess] });
  const caller = fork(new URL("./caller.ts", import.meta.url).pathname, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const call = callsOf(caller);
  await call("connect", { unixPath, ...files("vm") });
  return {
    attachByRpc: async (vmId: string, slot: number) => Number(await call("attach", { vmId, slot })),
    detachByRpc: async (vmId: string) => Number(await call("detach", { vmId })),
    readByRpc: async (calls: number) => Number(await call("read", { calls })),
    async stop() {
      caller.kill("SIGKILL");
      await server.close();
      database.close();
    },
  };
}
