import { randomUUID } from "node:crypto";
import { chownSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openDatabase, transaction } from "@lobsterd/chassis/sqlite.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { migrations, openRouteStore } from "@lobsterd/proxy/directory/route-store.ts";
import { ask } from "@lobsterd/proxy/testing/https-client.ts";
import { hostOf } from "@lobsterd/proxy/testing/probes.ts";
import { plainGuests, startCaddy, startProxyProcess } from "@lobsterd/proxy/testing/scene.ts";
import { proxyUid, type ScenePaths } from "@lobsterd/proxy/testing/scene-paths.ts";
import { caddyServes, openGuestScene, serviceStageOf, vmIdOf } from "@lobsterd/proxy/testing/stages.ts";

const tenant = "newcomer";
const guestAddress = "10.201.200.1";

export interface PublishTimes {
  /** PublishRoute to its return. */
  readonly publishMs: number;
  /** PublishRoute to an answer of the guest through Caddy. */
  readonly answerMs: number;
  /** PublishRoute asleep to its return. */
  readonly sleepMs: number;
  /** WithdrawRoute to its return. */
  readonly withdrawMs: number;
}

/** The service, Caddy and one guest, with so many tenants published. */
export interface PublishScene {
  readonly tenants: number;
  measure(): Promise<PublishTimes>;
  close(): Promise<void>;
}

export async function openPublishScene(caddyPath: string, tenants: number): Promise<PublishScene> {
  const plan = { guests: [{ name: tenant, address: guestAddress }], fixture: plainGuests };
  const scene = await openGuestScene(caddyPath, plan);
  try {
    seedRoutes(scene.paths, tenants);
    await startCaddy(scene);
    await startProxyProcess(scene);
    const stage = serviceStageOf(scene);
    await caddyServes(stage);
    return {
      tenants,
      async measure() {
        const route = { tenant, vmId: vmIdOf(tenant), generation: 1, guestAddress };
        const start = performance.now();
        await stage.routes.publishRoute({ requestId: randomUUID(), ...route });
        const published = performance.now();
        const { status } = await ask(stage.front, hostOf(tenant));
        const answered = performance.now();
        if (status !== 200) throw new Error(`status ${status}`);
        const asleep = { ...route, guestAddress: "", state: RouteState.ASLEEP };
        await stage.routes.publishRoute({ requestId: randomUUID(), ...asleep });
        const sleeping = performance.now();
        await stage.withdraw(tenant);
        return {
          publishMs: published - start,
          answerMs: answered - start,
          sleepMs: sleeping - answered,
          withdrawMs: performance.now() - sleeping,
        };
      },
      close: () => scene.close(),
    };
  } catch (error) {
    await scene.close();
    throw error;
  }
}

/** As so many calls of PublishRoute leave the store; each of them would take a commit of its own. */
function seedRoutes(paths: ScenePaths, tenants: number): void {
  const database = openDatabase(join(paths.state, "routes.sqlite"), migrations);
  const store = openRouteStore(database);
  transaction(database, () => {
    for (let index = 0; index < tenants; index += 1) {
      const name = `tenant-${index}`;
      const address = `10.201.${index >> 8}.${index & 255}`;
      const route = { tenant: name, vmId: vmIdOf(name), generation: 1, guestAddress: address, extraHostNames: [] };
      // Most tenants of a full host sleep.
      const state = index % 4 === 0 ? "awake" : "asleep";
      store.put({ ...route, state, publishedMs: Date.now() });
    }
  });
  database.close();
  for (const file of readdirSync(paths.state)) chownSync(join(paths.state, file), proxyUid, proxyUid);
}
