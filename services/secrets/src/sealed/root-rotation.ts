import type { DatabaseSync } from "node:sqlite";
import type { RootKeyProvider } from "../root-key/provider.ts";
import { emptyWriteAheadLog } from "../store/database.ts";
import type { RootKeyChange, RootRotationStore } from "../store/root-rotation-store.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";
import type { TenantKeys } from "./tenant-keys.ts";

const batch = 100;

export interface RootRotated extends RootKeyChange {
  readonly rewrappedCount: number;
}

/**
 * Gives the platform a new root key.
 *
 * 1. Only tenant keys are wrapped anew, each in a transaction of its own; no secret is opened.
 * 2. The old root key is retired after the last tenant key, so at every moment each tenant key opens by a root key that the provider has.
 * 3. Interrupted at any point, it goes on: with the next call, or at the next start.
 */
export interface RootRotation {
  /** Begins a rotation, or goes on with the one under way; calls meanwhile share it. Throws what the provider throws. */
  rotate(): Promise<RootRotated>;
  /** Goes on with the one under way, if there is one. */
  resume(): Promise<RootRotated | undefined>;
}

export function openRootRotation(parts: {
  database: DatabaseSync;
  provider: RootKeyProvider;
  keys: TenantKeys;
  keyStore: TenantKeyStore;
  rotations: RootRotationStore;
  now: () => number;
}): RootRotation {
  const { database, provider, keys, keyStore, rotations, now } = parts;
  let running: Promise<RootRotated> | undefined;

  async function begin(): Promise<RootKeyChange> {
    const known = rotations.find();
    if (known !== undefined) return known;
    const change = await provider.beginRotation();
    rotations.write(change, now());
    return change;
  }

  async function rewrapAll(rootKeyId: string): Promise<number> {
    let count = 0;
    let tenants = keyStore.listNotUnder(rootKeyId, undefined, batch);
    while (tenants.length > 0) {
      for (const tenant of tenants) {
        const stored = keyStore.find(tenant);
        if (stored === undefined) continue;
        const wrapped = await provider.rewrap(stored, { tenant, tenantKeyId: stored.id });
        if (keyStore.rewrap(tenant, { id: stored.id, ...wrapped })) count += 1;
      }
      tenants = keyStore.listNotUnder(rootKeyId, tenants.at(-1), batch);
    }
    return count;
  }

  async function run(): Promise<RootRotated> {
    const change = await begin();
    // A key that was begun under the old root key would otherwise be stored after the last look at the store.
    await keys.settled();
    const rewrappedCount = await rewrapAll(change.rootKeyId);
    await provider.finishRotation();
    rotations.clear();
    emptyWriteAheadLog(database);
    return { ...change, rewrappedCount };
  }

  function rotate(): Promise<RootRotated> {
    running ??= run().finally(() => {
      running = undefined;
    });
    return running;
  }

  return { rotate, resume: async () => (rotations.find() === undefined ? undefined : await rotate()) };
}
