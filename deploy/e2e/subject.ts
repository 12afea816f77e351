/** The stack under test, as the stories see it. */
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Tenant } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { connectStack } from "../client/clients.ts";
import { askFront, type FrontAnswer, type FrontRequest, hostOf } from "../client/front.ts";
import { readStackEnv } from "../client/stack-env.ts";
import { diffInventories, type InventoryDifference, takeInventory } from "../dev/inventory.ts";

export const instance = "test";
export const env = readStackEnv(instance);
export const clients = connectStack(env);

/** Spawns a tenant and returns it running. */
export async function spawn(name: string, image = "base", extraHostNames: readonly string[] = []): Promise<Tenant> {
  const request = { requestId: randomUUID(), name, image, extraHostNames: [...extraHostNames] };
  const { tenant } = await clients.tenants.spawnTenant(request);
  assert.ok(tenant !== undefined);
  return tenant;
}

/** Evicts a tenant; one that is not there is as good as evicted. */
export async function evict(name: string): Promise<void> {
  await clients.tenants.evictTenant({ requestId: randomUUID(), name }).catch((error: unknown) => {
    if (reasonOf(error) !== "TENANT_NOT_FOUND") throw error;
  });
}

/** Asks a tenant's URL. */
export function ask(tenant: string, request?: FrontRequest): Promise<FrontAnswer> {
  return askFront(env, hostOf(env, tenant), request);
}

/** The answer of `/whoami` with the tenant's own token, by the tenant's own name if no other is given. */
export async function whoami(
  tenant: string,
  host = hostOf(env, tenant),
): Promise<{ tenant: string; generation: number; vmId: string; secrets: Record<string, string> }> {
  const { token } = await clients.secrets.issueGatewayToken({ requestId: randomUUID(), tenant });
  const bearer = Buffer.from(token?.value ?? []).toString("utf8");
  const answer = await askFront(env, host, { path: "/whoami", headers: { authorization: `Bearer ${bearer}` } });
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body);
}

/** Puts and binds a random secret; returns the value and its SHA-256. */
export async function giveSecret(tenant: string, name: string): Promise<{ value: string; digest: string }> {
  const value = randomBytes(24).toString("hex");
  await clients.secrets.putSecret({ requestId: randomUUID(), tenant, name, value: { value: Buffer.from(value) } });
  const target = { target: { case: "file" as const, value: {} } };
  await clients.secrets.bindSecret({ requestId: randomUUID(), tenant, name, target });
  return { value, digest: createHash("sha256").update(value).digest("hex") };
}

/**
 * Waits until the host is as it was: links are unregistered and slots made anew in the background, so the comparison is
 * repeated until it is empty, at most 20 s. Fails with the difference.
 */
export async function assertUnchangedSince(before: readonly string[]): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const difference = diffInventories(before, await takeInventory(instance));
    if (isEmpty(difference)) return;
    if (performance.now() > deadline) {
      assert.deepEqual(difference, { added: [], removed: [] }, "the host is not as it was");
    }
    await delay(200);
  }
}

const isEmpty = ({ added, removed }: InventoryDifference) => added.length + removed.length === 0;

/** The inventory, once two in a row are equal: services that were just restarted have settled. */
export async function settledInventory(): Promise<readonly string[]> {
  const deadline = performance.now() + 30_000;
  let last = await takeInventory(instance);
  for (;;) {
    await delay(500);
    const next = await takeInventory(instance);
    if (isEmpty(diffInventories(last, next))) return next;
    if (performance.now() > deadline) throw new Error("the host does not settle");
    last = next;
  }
}

/** Resolves with the first defined answer of `probe`, which may throw meanwhile. */
export async function eventually<T>(what: string, limitMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + limitMs;
  let failure: unknown;
  for (;;) {
    try {
      const found = await probe();
      if (found !== undefined) return found;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what} did not happen within ${limitMs} ms`, { cause: failure });
    await delay(100);
  }
}
