import { amountsOf, hostFull, measureCapacity } from "../lifecycle/capacity.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";

const mib = 1024 * 1024;

/** What a file of so many plain bytes takes at most: sealing adds 21 bytes to a chunk of 64 KiB. */
export const sealedMibOf = (diskMib: number) => Math.ceil(diskMib * 1.0005) + 1;

/**
 * Holds disk of this host until it is disposed of: `diskMib` in all, of which `sealedMib` become a backup. What tenants were promised is not there to be
 * taken. Throws HOST_FULL with resource `disk_mib` or `backups_mib`.
 */
export async function holdRoom(
  life: Lifecycle,
  wanted: { readonly diskMib: number; readonly sealedMib: number },
): Promise<Disposable> {
  const { config, tenants, backups } = life;
  const capacity = await measureCapacity(life);
  const { held, store } = backups;
  const promised = amountsOf(tenants.resources(), capacity).diskMib;
  const diskLeft = Math.max(0, capacity.diskMib - promised - held.diskMib);
  if (wanted.diskMib > diskLeft) throw hostFull("disk_mib", wanted.diskMib, diskLeft);
  const backupsLeft = Math.max(0, Math.floor(config.maxBackupsMib - store.totalBytes() / mib - held.sealedMib));
  if (wanted.sealedMib > backupsLeft) throw hostFull("backups_mib", wanted.sealedMib, backupsLeft);
  held.diskMib += wanted.diskMib;
  held.sealedMib += wanted.sealedMib;
  return {
    [Symbol.dispose]: () => {
      held.diskMib -= wanted.diskMib;
      held.sealedMib -= wanted.sealedMib;
    },
  };
}
