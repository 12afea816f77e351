import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { release } from "@lobsterd/chassis/release.ts";
import { raceSignal } from "@lobsterd/chassis/streams.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { SealedHeader } from "../sealing/header.ts";
import { inspectSet, openSet, type PartSink, SealBrokenError } from "../sealing/open-set.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { BackupRecord } from "./backup-store.ts";
import { keyGone, unwrapBackupKey } from "./data-key.ts";
import { backupIdOf, diskMibOf, mib } from "./header.ts";
import { backupTurn } from "./parts.ts";
import { dropExpired } from "./retention.ts";
import { holdRoom } from "./room.ts";

/** What a sender may leave between two pieces. */
const stallLimitMs = 30_000;

export interface ImportOrder {
  readonly requestId: string;
  /** The tenant that it is a backup of. */
  readonly name: string;
  /** What the sender says that it will send. */
  readonly sizeBytes: number;
}

/**
 * Takes a sealed file among the backups of its tenant, once every chunk of it has opened. The same file again is the same backup. Throws TENANT_NOT_FOUND for a name that nobody
 * has and no backup can be of, BACKUP_KEY_GONE, BACKUP_OTHER_TENANT, BACKUP_BROKEN, IMPORT_INVALID, HOST_FULL, BACKUP_QUEUE_FULL.
 */
export async function importBackup(
  life: Lifecycle,
  { requestId, name, sizeBytes }: ImportOrder,
  pieces: AsyncIterator<Uint8Array>,
  signal: AbortSignal,
): Promise<BackupRecord> {
  const { files, store, queue, work: workList } = life.backups;
  const earlier = store.findByRequest(requestId);
  if (earlier !== undefined) return earlier;
  const tenant = requireHolder(life, name);
  using _place = await queue.enter(signal);
  const sizeMib = Math.ceil(sizeBytes / mib);
  using _room = await holdRoom(life, { diskMib: sizeMib, sealedMib: sizeMib });
  using work = workList.begin([tenant.vmId], "import", sizeBytes);
  await using draft = files.draft();
  await receive(draft.path, sizeBytes, pieces, signal, (bytes) => work.add(bytes));
  const header = await verify(life, draft.path, tenant, signal);
  return await life.turns.take(backupTurn(tenant.vmId), async (evicted) => {
    const known = store.findByCounter(header.vmId, header.counter);
    if (known !== undefined) return requireSame(known, header);
    const { vmId, counter, generation, createTimeMs } = header;
    await draft.adopt({ vmId, counter });
    evicted.throwIfAborted();
    const added = store.insert({
      ...{ backupId: backupIdOf(header), vmId, requestId, counter, generation, diskMib: diskMibOf(header) ?? 0 },
      ...{ sizeBytes, createTimeMs, addTimeMs: life.now() },
    });
    life.events.backupImported(tenant, added);
    await dropExpired(life);
    return added;
  });
}

function requireHolder({ tenants }: Lifecycle, name: string): TenantRecord {
  const tenant = tenants.find(name);
  if (tenant === undefined || tenant.phase === "evicting") throw keyGone(name);
  return tenant;
}

/** Two sets of one tenant have two counters, so a file with the same one is the same file. */
function requireSame(known: BackupRecord, header: SealedHeader): BackupRecord {
  if (known.backupId === backupIdOf(header)) return known;
  throw fail("BACKUP_BROKEN", "another backup of the tenant has this one's counter");
}

async function receive(
  path: string,
  sizeBytes: number,
  pieces: AsyncIterator<Uint8Array>,
  signal: AbortSignal,
  took: (bytes: number) => void,
): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  await using file: FileHandle = await open(path, flags, 0o600);
  let received = 0;
  for (;;) {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(stallLimitMs)]);
    const { value, done } = await raceSignal(limit, pieces.next());
    if (done === true) break;
    received += value.length;
    if (received > sizeBytes) throw fail("IMPORT_INVALID", `more than the ${sizeBytes} bytes that were announced`);
    await file.writeFile(value);
    took(value.length);
  }
  if (received !== sizeBytes) throw fail("IMPORT_INVALID", `${received} of ${sizeBytes} bytes came`);
  await file.sync();
}

async function verify(
  life: Lifecycle,
  path: string,
  { name, vmId }: TenantRecord,
  signal: AbortSignal,
): Promise<SealedHeader> {
  try {
    const claimed = await inspectSet(path);
    if (diskMibOf(claimed) === undefined) throw fail("BACKUP_BROKEN", "the file is no backup of a disk");
    if (claimed.tenant !== name)
      throw fail("BACKUP_OTHER_TENANT", "the file is a backup of another tenant", { metadata: { tenant: name } });
    // Of a tenant that had the name before.
    if (claimed.vmId !== vmId) throw keyGone(name);
    const key = (header: SealedHeader) => unwrapBackupKey(life, header, signal);
    const look: PartSink = async (_part, plain) => {
      signal.throwIfAborted();
      release(plain);
    };
    return await openSet(path, key, look);
  } catch (cause) {
    if (!(cause instanceof SealBrokenError)) throw cause;
    throw fail("BACKUP_BROKEN", "the file is not whole, or was changed", { cause });
  }
}
