/** A tenant's disk: as the host has it, and as it is under the key that `secrets` opens for `vm` and for nobody else. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { decryptSectors } from "@lobsterd/vm/launcher/disk-cipher.ts";
import { diskKeyFrom } from "@lobsterd/vm/lifecycle/disk-key.ts";
import { connectStack } from "../../client/clients.ts";
import { env } from "../subject.ts";

const certificates = join(env.LOBSTERD_STATE_DIR, "certificates", "vm");
const own = { LOBSTERD_CERT: join(certificates, "certificate.pem"), LOBSTERD_KEY: join(certificates, "key.pem") };
const asVm = connectStack({ ...env, ...own });

/** All that a copy of the host holds of a tenant's disk. */
export interface DiskCopy {
  readonly tenant: string;
  readonly vmId: string;
  readonly cipherText: Buffer;
  readonly wrappedKey: Uint8Array;
}

export function copyDiskOf({ name, vmId }: { readonly name: string; readonly vmId: string }): DiskCopy {
  const path = join(env.LOBSTERD_STATE_DIR, "vm", "vm.sqlite");
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const row = database.prepare("SELECT wrapped_disk_key FROM tenant WHERE vm_id = ?").get(vmId);
    const wrappedKey = row?.["wrapped_disk_key"];
    if (!(wrappedKey instanceof Uint8Array)) throw new Error(`the disk of ${name} has no key`);
    const cipherText = readFileSync(join(env.LOBSTERD_STATE_DIR, "vms", vmId, "overlay.ext4"));
    return { tenant: name, vmId, cipherText, wrappedKey };
  } finally {
    database.close();
  }
}

/** Opens it as `vm` would; what was never written is noise. Throws what `secrets` refuses with. */
export async function openDisk({ tenant, vmId, cipherText, wrappedKey }: DiskCopy): Promise<Buffer> {
  const request = { tenant, purpose: "disk", objectId: vmId, wrappedKey };
  const { plaintextKey } = await asVm.secrets.unwrapDataKey(request);
  return decryptSectors(diskKeyFrom(plaintextKey?.value), 0, cipherText);
}
