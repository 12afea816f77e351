import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { Client } from "@connectrpc/connect";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { Health, HealthCheckResponse_ServingStatus } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { Json } from "../caddy/canonical-json.ts";
import { createKeeper } from "../caddy/keeper.ts";
import { openNameFiles } from "../directory/name-files.ts";
import { ask } from "./https-client.ts";
import { addresses, guests, hostOf, type Stage } from "./probes.ts";
import {
  openScene,
  patience,
  plainGuests,
  type Scene,
  type SceneGuest,
  type Started,
  startCaddy,
  startGuests,
  startProxyProcess,
} from "./scene.ts";
import { trustDomain } from "./scene-paths.ts";

/** The microVM that a tenant of the stage has. */
export const vmIdOf = (tenant: string): string => Buffer.from(tenant).toString("hex").padEnd(32, "0").slice(0, 32);

/** The service and its clients. */
export type ServiceStage = Stage & {
  readonly scene: Scene;
  /** As `vm`. */
  readonly routes: Client<typeof RouteService>;
  clientAs(leaf: { certificatePath: string; keyPath: string }): Client<typeof RouteService>;
  isServing(): Promise<boolean>;
};

/** Everything real: the service as its own process and user, Caddy that it configured, guests. */
export async function openServiceStage(
  caddyPath: string,
  plan: GuestsPlan = usualGuests,
): Promise<ServiceStage & { readonly caddy: Started; readonly proxy: Started }> {
  const scene = await openGuestScene(caddyPath, plan);
  try {
    const caddy = await startCaddy(scene);
    const proxy = await startProxyProcess(scene);
    const stage = serviceStageOf(scene);
    await caddyServes(stage);
    return { ...stage, caddy, proxy };
  } catch (error) {
    await scene.close();
    throw error;
  }
}

/** Which guests there are, the script that stands in for them, and addresses for guests that a test starts itself. */
export type GuestsPlan = {
  readonly guests: readonly SceneGuest[];
  readonly fixture: string;
  readonly spareAddresses?: readonly string[];
};

const usualGuests: GuestsPlan = { guests, fixture: plainGuests };

export type GuestScene = Scene & Pick<Stage, "guestOutput">;

/** A scene in which the guests run, and nothing else yet. */
export async function openGuestScene(caddyPath: string, plan: GuestsPlan = usualGuests): Promise<GuestScene> {
  const { guests: planned, spareAddresses = [] } = plan;
  const scene = await openScene(caddyPath, [...planned.map(({ address }) => address), ...spareAddresses]);
  try {
    const started = await startGuests(scene, plan.guests, plan.fixture);
    return { ...scene, guestOutput: started.output };
  } catch (error) {
    await scene.close();
    throw error;
  }
}

export function serviceStageOf(scene: GuestScene): ServiceStage {
  const { paths } = scene;
  const peer = { service: "proxy", unixPath: paths.rpcSocket };
  const authority = { platformCaPath: paths.platformCa, trustDomain };
  const clientAs: ServiceStage["clientAs"] = (leaf) =>
    createServiceClient(RouteService, peer, { ...leaf, ...authority });
  const routes = clientAs(paths.vmLeaf);
  const health = createServiceClient(Health, peer, { ...paths.vmLeaf, ...authority });
  return {
    ...{
      scene,
      paths,
      routes,
      clientAs,
      front: frontOf(scene),
      runInside: scene.runInside,
      guestOutput: scene.guestOutput,
    },
    isServing: async () => (await health.check({})).status === HealthCheckResponse_ServingStatus.SERVING,
    async publish(tenant, extraHostNames = []) {
      const route = { tenant, vmId: vmIdOf(tenant), generation: 1, guestAddress: addresses[tenant] ?? "" };
      await routes.publishRoute({ requestId: randomUUID(), ...route, extraHostNames: [...extraHostNames] });
    },
    async withdraw(tenant) {
      await routes.withdrawRoute({ requestId: randomUUID(), tenant, vmId: vmIdOf(tenant) });
    },
  };
}

export type BareStage = Stage & {
  readonly scene: Scene;
  /** What the resolver has printed: a line for each tenant it was asked for. */
  resolverOutput(): string;
  /** Loads a configuration; from then on Caddy runs it. */
  configure(config: Json): Promise<void>;
};

/** Caddy without the service: the resolver knows the addresses it is given, names are published by hand, any configuration may be loaded. */
export async function openBareStage(
  caddyPath: string,
  plan: GuestsPlan = usualGuests,
  known: Readonly<Record<string, string>> = addresses,
): Promise<BareStage> {
  const scene = await openGuestScene(caddyPath, plan);
  try {
    const fixture = fileURLToPath(new URL("resolver.fixture.ts", import.meta.url));
    const pairs = Object.entries(known).map(([tenant, address]) => `${tenant}=${address}`);
    const resolver = scene.start([process.execPath, fixture, "5053", ...pairs]);
    await waitFor("resolver", async () => resolver.output().includes("listening") || undefined, patience);
    await startCaddy(scene);
    const { paths } = scene;
    const names = openNameFiles(paths.namesDirectory);
    return {
      ...{ scene, paths, front: frontOf(scene), runInside: scene.runInside, guestOutput: scene.guestOutput },
      resolverOutput: resolver.output,
      async publish(tenant, extraHostNames = []) {
        const without = names.listHosts().filter((host) => host.tenant === tenant);
        for (const { hostName } of without) names.removeHost(hostName);
        names.add(tenant);
        for (const hostName of extraHostNames) names.addHost({ hostName, tenant });
      },
      async withdraw(tenant) {
        names.remove(tenant);
        for (const host of names.listHosts()) if (host.tenant === tenant) names.removeHost(host.hostName);
      },
      async configure(config) {
        const verdict = await createKeeper(() => config, paths.adminSocket).check();
        if (verdict.kind !== "equal" && verdict.kind !== "loaded") throw new Error(verdict.message);
      },
    };
  } catch (error) {
    await scene.close();
    throw error;
  }
}

/** Resolves when Caddy serves HTTPS with a configuration of ours. */
export async function caddyServes({ front }: Stage): Promise<void> {
  await waitFor(
    "caddy serves",
    async () => {
      try {
        return (await ask(front, hostOf("nobody"))).status === 404 || undefined;
      } catch (error) {
        // Its sockets are not there yet, or were left by the one that was killed.
        if (error instanceof Error && "code" in error) return undefined;
        throw error;
      }
    },
    patience,
  );
}

function frontOf(scene: Scene): Stage["front"] {
  return { socketPath: scene.paths.httpsSocket, caPem: scene.authorities.platform.certificatePem };
}
