/** The key of a tenant's disk: 64 bytes made of a data key of `secrets`, which are the caller's to clear. It is the same as long as the tenant is. */
import { hkdfSync, randomUUID } from "node:crypto";
import { diskKeyBytes } from "../launcher/disk-cipher.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";

const purpose = "disk";

/** Makes the key of a tenant that has no disk yet; wrapped, it is in the tenant's row when this returns. */
export async function createDiskKey(
  life: Lifecycle,
  { name, vmId }: TenantRecord,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const request = { requestId: randomUUID(), tenant: name, purpose, objectId: vmId };
  const { plaintextKey, wrappedKey } = await life.parts.secrets.createDataKey(request, { signal });
  life.tenants.setDiskKey(vmId, wrappedKey);
  return diskKeyFrom(plaintextKey?.value);
}

/** The key that the tenant's disk was made with; undefined for a plain disk, of before there were keys. Throws what `secrets` fails with. */
export async function unwrapDiskKey(
  { parts }: Lifecycle,
  { name, vmId, wrappedDiskKey }: TenantRecord,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  if (wrappedDiskKey === undefined) return undefined;
  const request = { tenant: name, purpose, objectId: vmId, wrappedKey: wrappedDiskKey };
  return diskKeyFrom((await parts.secrets.unwrapDataKey(request, { signal })).plaintextKey?.value);
}

/** Clears the data key. XTS takes two keys, which must differ. */
export function diskKeyFrom(dataKey: Uint8Array = new Uint8Array()): Uint8Array {
  if (dataKey.length !== 32) throw new RangeError("a data key has 32 bytes");
  const key = new Uint8Array(hkdfSync("sha256", dataKey, "", "lobsterd disk", diskKeyBytes));
  dataKey.fill(0);
  return key;
}
