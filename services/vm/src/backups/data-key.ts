import { randomUUID } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { fail } from "../errors.ts";
import { unwrapDiskKey } from "../lifecycle/disk-key.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { SealedHeader } from "../sealing/header.ts";
import { sealedObjectId } from "../store/sealed-states.ts";
import type { TenantRecord } from "../store/tenant-record.ts";

export interface DataKey {
  /** 32 bytes, the caller's to clear. */
  readonly plaintext: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly keyId: string;
}

const purpose = "backup";

/** A new key for the set that was counted last. It needs audit and the root key. */
export async function createBackupKey(
  { parts }: Lifecycle,
  { name, vmId, sealCounter: counter }: TenantRecord,
  signal: AbortSignal,
): Promise<DataKey> {
  const request = { requestId: randomUUID(), tenant: name, purpose, objectId: sealedObjectId({ vmId, counter }) };
  const made = await parts.secrets.createDataKey(request, { signal });
  return { plaintext: made.plaintextKey?.value ?? new Uint8Array(), wrapped: made.wrappedKey, keyId: made.keyId };
}

/** What `secrets` says of a key that it cannot open under the tenant's own. */
const goneReasons: ReadonlySet<string> = new Set(["TENANT_KEY_DESTROYED", "TENANT_SHREDDED", "SEAL_BROKEN"]);

/** The key of a backup, as its header has it, the caller's to clear. Throws BACKUP_KEY_GONE, and what `secrets` fails with. */
export async function unwrapBackupKey(
  { parts }: Lifecycle,
  { tenant, vmId, counter, wrappedKey }: SealedHeader,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const object = { tenant, purpose, objectId: sealedObjectId({ vmId, counter }) };
  const request = { ...object, wrappedKey: Buffer.from(wrappedKey, "base64") };
  return await orKeyGone(tenant, async () => {
    const { plaintextKey } = await parts.secrets.unwrapDataKey(request, { signal });
    return plaintextKey?.value ?? new Uint8Array();
  });
}

/** The key that a backup's disk is under, which is that of its tenant; undefined for a plain disk. As `unwrapBackupKey`. */
export async function unwrapSourceDiskKey(
  life: Lifecycle,
  source: TenantRecord,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  return await orKeyGone(source.name, () => unwrapDiskKey(life, source, signal));
}

async function orKeyGone<T>(tenant: string, unwrap: () => Promise<T>): Promise<T> {
  try {
    return await unwrap();
  } catch (cause) {
    if (goneReasons.has(reasonOf(cause) ?? "")) throw keyGone(tenant, cause);
    throw cause;
  }
}

export function keyGone(tenant: string, cause?: unknown) {
  const message = `the tenant ${tenant} that this is a backup of was evicted: nobody can open it any more`;
  return fail("BACKUP_KEY_GONE", message, { metadata: { tenant }, cause });
}
