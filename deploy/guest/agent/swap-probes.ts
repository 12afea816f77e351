/** Two guests behind Caddy whose places are mixed up, in three ways. Each probe throws at the first answer of the wrong tenant. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { type CaddySettings, caddyConfig } from "@lobsterd/proxy/caddy/caddy-config.ts";
import type { Json } from "@lobsterd/proxy/caddy/canonical-json.ts";
import { ask, keptAgent } from "@lobsterd/proxy/testing/https-client.ts";
import { hostOf, type Stage } from "@lobsterd/proxy/testing/probes.ts";
import type { SceneGuest } from "@lobsterd/proxy/testing/scene.ts";
import { type BareStage, type ServiceStage, vmIdOf } from "@lobsterd/proxy/testing/stages.ts";

export const fronts = fileURLToPath(new URL("fronts.fixture.ts", import.meta.url));

export const pair: readonly SceneGuest[] = [
  { name: "alpha", address: "10.201.0.1" },
  { name: "beta", address: "10.201.0.3" },
];
export const swapped = { alpha: "10.201.0.3", beta: "10.201.0.1" };

/** How often each answer came. `own` is the tenant's own with status 200. */
export type Tally = { own: number; refused: Record<number, number> };

/** `total` requests for both tenants from `clients` at a time, each on a kept connection. */
export async function tally({ front }: Stage, total: number, clients: number): Promise<Tally> {
  const result: Tally = { own: 0, refused: {} };
  let left = total;
  const client = async (tenant: string): Promise<void> => {
    const agent = keptAgent();
    while (left > 0) {
      left -= 1;
      const { status, text } = await ask(front, hostOf(tenant), { agent, path: `/${left}` });
      assert.doesNotMatch(text, new RegExp(`"guest":"(?!${tenant}")`), `${tenant} got the answer of another`);
      if (status === 200) result.own += 1;
      else result.refused[status] = (result.refused[status] ?? 0) + 1;
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index % 2 === 0 ? "alpha" : "beta")));
  return result;
}

/**
 * While requests run, `proxy` is told the other guest's address for each name, and the right one again, over and over. Each time the
 * connections to guests are killed, as `net` does when a guest leaves, so that names are dialled anew.
 */
export async function swapByAddress(stage: ServiceStage, total: number): Promise<Tally> {
  let generation = 1;
  const publish = async (addresses: Readonly<Record<string, string>>): Promise<void> => {
    generation += 1;
    for (const [tenant, guestAddress] of Object.entries(addresses)) {
      const request = { requestId: randomUUID(), tenant, vmId: vmIdOf(tenant), generation, guestAddress };
      await stage.routes.publishRoute(request);
    }
    await stage.runInside("ss", "--kill", "--tcp", "--no-header", "dport", "=", ":9000");
  };
  const right = Object.fromEntries(pair.map(({ name, address }) => [name, address]));
  await publish(right);
  let isRunning = true;
  const requests = tally(stage, total, 8).finally(() => {
    isRunning = false;
  });
  const swaps = (async () => {
    while (isRunning) for (const addresses of [swapped, right]) await publish(addresses);
  })();
  const [result] = await Promise.all([requests, swaps]);
  return result;
}

/** Caddy no longer verifies whom it reaches, and the resolver lies: the name in the handshake is another guest's. */
export async function swapWithoutVerification(
  stage: BareStage,
  settings: CaddySettings,
  total: number,
): Promise<Tally> {
  const careless = JSON.stringify(caddyConfig(settings)).replace(
    /"root_ca_pem_files":\[[^\]]*\]/,
    '"insecure_skip_verify":true',
  );
  await stage.configure(JSON.parse(careless) as Json);
  return await tally(stage, total, 8);
}

/** Whoever owns `proxy` makes Caddy dial beta for everybody: verified and by its right name, but the host is alpha's. */
export async function swapByDial(stage: BareStage, settings: CaddySettings, total: number): Promise<Tally> {
  const beta = JSON.stringify(caddyConfig(settings))
    .replace(/"dial":"[^"]*:9000"/, `"dial":"${swapped.alpha}:9000"`)
    .replace('"root_ca_pem_files"', '"server_name":"beta.guest.internal","root_ca_pem_files"');
  await stage.configure(JSON.parse(beta) as Json);
  return await tally(stage, total, 8);
}
