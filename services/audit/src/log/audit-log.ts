import { fail } from "../errors.ts";
import { auditMetrics } from "../metrics.ts";
import type { MerkleTree } from "../tree/merkle-tree.ts";
import { type Draft, decodeLeaf, encodeLeaf, type LogRecord, leafHash } from "./canonical.ts";
import { CommitQueue } from "./commit-queue.ts";
import { DiskReserve } from "./disk-reserve.ts";
import { encodeFrame, fileHeader, maxBatchRecords, parseFrame } from "./frame.ts";
import { Growth } from "./growth.ts";
import type { LogFile } from "./log-file.ts";
import { createOwnRecords, type OwnRecords } from "./own-records.ts";
import type { IndexRow, Place, RecordIndex, Selection } from "./record-index.ts";
import { instantOf, type Recovered, recoverLog, rowOf } from "./recovery.ts";

/** What an appender gets once its record is on stable storage. */
export type Receipt = { readonly sequence: number; readonly leafHash: Uint8Array; readonly treeSize: number };

/** Other writers' records of the same tenant and action that `latest` passes over. */
const maxForeignRecords = 100;

/** A record read back, its hash verified. */
export type StoredRecord = { readonly record: LogRecord; readonly leafHash: Uint8Array };

/** Filters of a query; empty and absent ones do not narrow it. Times are append times in ms, [startMs, endMs). */
export type Query = Omit<Selection, "from" | "to"> & {
  readonly from: number;
  readonly limit: number;
  readonly startMs?: number;
  readonly endMs?: number;
};

/** What the log tells its service. */
export interface LogObserver {
  recovered(recovered: Recovered): void;
  clockWentBack(byMs: number): void;
  reserveChanged(low: boolean, freeBytes: number): void;
  /** The tree has `size` records now, all of them durable. */
  grew(size: number): void;
  /** Nothing is accepted any more; the process must end, since only a fresh one can tell what is durable. */
  failed(error: unknown): void;
}

export type AuditLogOptions = {
  readonly file: LogFile;
  readonly index: RecordIndex;
  /** Empty; filled from the file. */
  readonly tree: MerkleTree;
  /** Identity of audit itself, as the writer of its own records. */
  readonly self: string;
  readonly bootId: string;
  readonly serviceVersion: string;
  /** Appends of one writer that may wait. */
  readonly queueLimit: number;
  /** Places in a batch of a writer for each one of another; 1 by default. */
  readonly shareOf?: (writer: string) => number;
  readonly reserveBytes: number;
  readonly now: () => number;
  readonly newEventId: () => string;
  readonly observer: LogObserver;
};

type Append = { readonly draft: Draft; readonly writer: string };
type Pending = Append & { readonly receipt: Promise<Receipt> };

/**
 * The append-only log.
 *
 * 1. A receipt is given only after the fsync that covers the record.
 * 2. Sequences begin at 0 and have no gaps; append times never go backwards.
 * 3. One event id is one record: the same content gives the first receipt again, another content is refused.
 * 4. After a failed write or fsync nothing is accepted.
 * 5. What one writer has waiting does not delay another: every batch has places for each.
 * 6. The tree holds durable records only, so that nothing is ever signed that a crash could take back.
 */
export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #queue: CommitQueue<Append, Receipt>;
  readonly #reserve: DiskReserve;
  /** Every event id that is not in the index yet, waiting or durable. */
  readonly #pending = new Map<string, Pending>();
  readonly #growth = new Growth();
  readonly #own: OwnRecords;
  #unindexed: IndexRow[] = [];
  #records: number;
  #durableBytes: number;
  #lastAppendMs: number;
  #clockIsBehind = false;
  #writing = false;
  #closed = false;
  #failure: Error | undefined;

  /** Recovers what `file` holds. Takes both over and closes them, also if it throws. */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    try {
      const recovered = await recoverLog(options.file, options.index, options.tree);
      options.observer.recovered(recovered);
      const log = new AuditLog(options, recovered);
      await log.refreshReserve();
      return log;
    } catch (error) {
      options.tree.close();
      options.index.close();
      await options.file.close();
      throw error;
    }
  }

  private constructor(options: AuditLogOptions, recovered: Recovered) {
    this.#options = options;
    this.#records = recovered.records;
    this.#durableBytes = recovered.goodBytes;
    this.#lastAppendMs = recovered.lastAppendMs;
    this.#reserve = new DiskReserve(
      options.reserveBytes,
      () => options.file.freeBytes(),
      options.observer.reserveChanged,
    );
    this.#own = createOwnRecords(options);
    this.#queue = new CommitQueue({
      // One place in a batch is kept for a record of audit's own.
      maxBatch: maxBatchRecords - 1,
      commit: (items) => this.#commit(items),
      ...(options.shareOf === undefined ? {} : { shareOf: options.shareOf }),
    });
  }

  /** True if appends are accepted. */
  get accepting(): boolean {
    return this.#failure === undefined && !this.#reserve.low;
  }

  /** Appends that wait for a commit. */
  get waiting(): number {
    return this.#queue.size;
  }

  /**
   * Appends one record; `writer` is the verified identity of the caller. Throws EVENT_ID_REUSED, APPEND_QUEUE_FULL, DISK_RESERVE, or
   * LOG_FAILED, after which the record may or may not be in the log.
   */
  async append(draft: Draft, writer: string): Promise<Receipt> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw fail("LOG_FAILED", "the log is closed");
    const pending = this.#pending.get(draft.eventId);
    if (pending !== undefined) {
      requireSameContent(pending, { draft, writer });
      return pending.receipt;
    }
    const place = this.#options.index.find(draft.eventId);
    if (place !== undefined) {
      const { record } = await this.#read(place);
      requireSameContent(record, { draft, writer });
      return { sequence: place.sequence, leafHash: place.leafHash, treeSize: place.treeSize };
    }
    this.#reserve.require();
    if (this.#queue.length(writer) >= this.#options.queueLimit) {
      throw fail("APPEND_QUEUE_FULL", `${this.#options.queueLimit} appends of this writer are waiting already`);
    }
    const receipt = this.#queue.push({ draft, writer }, writer);
    this.#pending.set(draft.eventId, { draft, writer, receipt });
    return receipt;
  }

  /** Records in order of sequence, and the sequence to go on from if there may be more. A page may be short. */
  async query(query: Query): Promise<{ readonly records: readonly StoredRecord[]; readonly next?: number }> {
    const { index } = this.#options;
    this.#indexDurable();
    const start = query.startMs === undefined ? 0 : index.firstAppendedAtOrAfter(query.startMs);
    const end = query.endMs === undefined ? index.size() : index.firstAppendedAtOrAfter(query.endMs);
    const page = index.select({ ...query, from: Math.max(query.from, start), to: end }, query.limit);
    const records: StoredRecord[] = [];
    for (const place of page.places) records.push(await this.#read(place));
    return page.next === undefined ? { records } : { records, next: page.next };
  }

  /** The newest record of a tenant and an action that `writer` appended. Looks at no more than the last hundred of that tenant and action. */
  async latest(wanted: {
    readonly tenant: string;
    readonly action: string;
    readonly writer: string;
  }): Promise<StoredRecord | undefined> {
    this.#indexDurable();
    for (const place of this.#options.index.latest(wanted.tenant, wanted.action, maxForeignRecords)) {
      const stored = await this.#read(place);
      if (stored.record.writer === wanted.writer) return stored;
    }
    return undefined;
  }

  /** The tree over every record that is durable now. */
  tree(): MerkleTree {
    this.#indexDurable();
    return this.#options.tree;
  }

  /** Resolves when there are more than `size` records, or `signal` aborts. */
  grownBeyond(size: number, signal: AbortSignal): Promise<void> {
    return this.tree().size > size ? Promise.resolve() : this.#growth.beyond(size, signal);
  }

  /** Bytes of the file that hold the header and the first `size` records; `size` is at most that of the tree. */
  endOffset(size: number): number {
    return this.#options.index.endOffset(size) ?? fileHeader.length;
  }

  /** Bytes of the file, as they are on disk. */
  readBytes(offset: number, length: number): Promise<Buffer> {
    return this.#options.file.read(offset, length);
  }

  /** Measures the free space; to be called every second, since others fill the disk too. */
  refreshReserve(): Promise<void> {
    return this.#reserve.refresh();
  }

  /** Refuses new appends, waits for those accepted, and closes file and index. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.drained();
    try {
      // A failed log leaves its index as it is: the next start fills it from the file.
      if (this.#failure === undefined) this.#indexDurable();
    } finally {
      this.#options.tree.close();
      this.#options.index.close();
      await this.#options.file.close();
    }
  }

  async #commit(items: readonly Append[]): Promise<readonly Receipt[]> {
    this.#writing = true;
    try {
      return await this.#write(items);
    } catch (error) {
      throw await this.#fail(error);
    } finally {
      this.#writing = false;
    }
  }

  async #write(items: readonly Append[]): Promise<readonly Receipt[]> {
    const { file } = this.#options;
    const { appends, appendMs } = this.#stamp(items);
    const batchStart = this.#records;
    const treeSize = batchStart + appends.length;
    const frames: Buffer[] = [];
    const rows: IndexRow[] = [];
    let offset = this.#durableBytes;
    const appendTime = instantOf(appendMs);
    for (const [at, { draft, writer }] of appends.entries()) {
      const record: LogRecord = { sequence: batchStart + at, appendTime, bootId: this.#options.bootId, writer, draft };
      const leaf = encodeLeaf(record);
      const hash = leafHash(leaf);
      const frame = encodeFrame(leaf, hash, batchStart);
      frames.push(frame);
      rows.push(rowOf(record, { offset, bytes: frame.length, treeSize, leafHash: hash }));
      offset += frame.length;
    }
    const startMs = performance.now();
    const durable = file.append(Buffer.concat(frames)).then(() => file.sync());
    // The batch before is indexed while the disk works on this one. A failure of either waits for the other: the file is not touched again while a write runs.
    const [written, indexed] = await Promise.allSettled([durable, Promise.try(() => this.#indexDurable())]);
    if (written.status === "rejected") throw written.reason;
    auditMetrics.commits.record((performance.now() - startMs) / 1000);
    this.#records = treeSize;
    this.#durableBytes = offset;
    this.#lastAppendMs = appendMs;
    this.#unindexed.push(...rows);
    if (indexed.status === "rejected") throw indexed.reason;
    await this.#reserve.wrote(offset - (rows[0]?.offset ?? offset));
    if (this.#queue.isEmpty) setImmediate(() => this.#indexWhenIdle());
    return rows.slice(appends.length - items.length);
  }

  /** Gives a batch its time. The first of a time in which the clock is behind the log is led by a record that says so. */
  #stamp(items: readonly Append[]): { appends: readonly Append[]; appendMs: number } {
    const nowMs = this.#options.now();
    const byMs = this.#lastAppendMs - nowMs;
    if (byMs <= 0) {
      this.#clockIsBehind = false;
      return { appends: items, appendMs: nowMs };
    }
    if (this.#clockIsBehind) return { appends: items, appendMs: this.#lastAppendMs };
    this.#clockIsBehind = true;
    this.#options.observer.clockWentBack(byMs);
    return { appends: [this.#own.clockWentBack(nowMs, byMs), ...items], appendMs: this.#lastAppendMs };
  }

  #indexDurable(): void {
    if (this.#unindexed.length === 0) return;
    const rows = this.#unindexed;
    this.#options.index.add(rows);
    this.#options.tree.add(rows.map(({ leafHash: hash }) => hash));
    this.#unindexed = [];
    for (const row of rows) this.#pending.delete(row.eventId);
    this.#options.observer.grew(this.#options.tree.size);
    this.#growth.reached(this.#options.tree.size);
  }

  #indexWhenIdle(): void {
    // A commit that began meanwhile indexes by itself, and a failure here must not cut the file under its write.
    if (this.#writing || this.#closed || this.#failure !== undefined) return;
    try {
      this.#indexDurable();
    } catch (error) {
      void this.#fail(error);
    }
  }

  async #fail(cause: unknown): Promise<Error> {
    if (this.#failure !== undefined) return this.#failure;
    const failure = fail("LOG_FAILED", "the log cannot be written; audit restarts from what is durable", { cause });
    this.#failure = failure;
    // Nobody got a receipt for the failed batch, and Linux may keep its lost pages in the cache as if they were on disk: a restart would believe
    // them. If the cut fails too, they stay for the restart to judge by their hashes.
    await this.#options.file.truncate(this.#durableBytes).catch(() => undefined);
    this.#options.observer.failed(cause);
    return failure;
  }

  async #read(place: Place): Promise<StoredRecord> {
    const parsed = parseFrame(await this.#options.file.read(place.offset, place.bytes));
    if (parsed.kind === "frame" && parsed.frame.leafHash.equals(place.leafHash)) {
      return { record: decodeLeaf(parsed.frame.leaf), leafHash: parsed.frame.leafHash };
    }
    throw fail("LOG_DAMAGED", `record ${place.sequence} is not as it was appended`, {
      metadata: { sequence: String(place.sequence), offset: String(place.offset) },
    });
  }
}

function requireSameContent(known: Append, asked: Append): void {
  if (known.writer === asked.writer && contentOf(known.draft) === contentOf(asked.draft)) return;
  throw fail("EVENT_ID_REUSED", "another record has this event_id", { metadata: { event_id: asked.draft.eventId } });
}

function contentOf(draft: Draft): string {
  const zero = { sequence: 0, appendTime: instantOf(0), bootId: "", writer: "" };
  return encodeLeaf({ ...zero, draft }).toString("latin1");
}
