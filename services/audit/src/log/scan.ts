import { fail } from "../errors.ts";
import { type Frame, fileHeader, findLaterBatch, maxBatchBytes, maxFrameBytes, parseFrame } from "./frame.ts";
import type { LogFile } from "./log-file.ts";

const readBytes = 1024 * 1024;

/** A frame and where it stands. */
export type PlacedFrame = Frame & { readonly offset: number };

/** What a scan found: `goodBytes` of the file hold `records` whole records, and `tornBytes` after them hold none. */
export type ScanResult = {
  readonly records: number;
  readonly goodBytes: number;
  readonly tornBytes: number;
  readonly tornBecause: string;
};

/**
 * Reads the whole log and verifies every frame: hash, sequence without gaps, batches in order. `onBatch` gets the frames that one fsync covered,
 * at most 256.
 *
 * Only the batch that was being written when the process or the machine died can be incomplete, and nothing in it was acknowledged unless
 * the whole was durable. So bytes that are no frame are a torn tail only if fewer than one batch of bytes is left and no batch begun later
 * follows them; anything else is damage to what was durable, and throws LOG_DAMAGED.
 */
export async function scanLog(file: LogFile, onBatch: (frames: readonly PlacedFrame[]) => void): Promise<ScanResult> {
  const size = await file.size();
  if (!(await file.read(0, fileHeader.length)).equals(fileHeader)) {
    throw fail("LOG_DAMAGED", "the file does not begin as an audit log of this version");
  }
  const window = new Window(file, size);
  let batch: PlacedFrame[] = [];
  let sequence = 0;
  let offset = fileHeader.length;
  let tornBecause = "";
  while (offset < size) {
    const parsed = parseFrame(await window.at(offset));
    if (parsed.kind === "bad") {
      await requireTorn(file, { offset, size, sequence, why: parsed.why });
      tornBecause = parsed.why;
      break;
    }
    const frame = { ...parsed.frame, offset };
    const batchStart = batch[0]?.sequence ?? 0;
    if (frame.sequence !== sequence || (frame.batchStart !== sequence && frame.batchStart !== batchStart)) {
      throw damaged(offset, sequence, `holds record ${frame.sequence} of batch ${frame.batchStart}`);
    }
    if (frame.batchStart === sequence && batch.length > 0) {
      onBatch(batch);
      batch = [];
    }
    batch.push(frame);
    sequence += 1;
    offset += frame.bytes;
  }
  if (batch.length > 0) onBatch(batch);
  return { records: sequence, goodBytes: offset, tornBytes: size - offset, tornBecause };
}

async function requireTorn(
  file: LogFile,
  at: { offset: number; size: number; sequence: number; why: string },
): Promise<void> {
  const left = at.size - at.offset;
  if (left > maxBatchBytes) throw damaged(at.offset, at.sequence, `${at.why}, and ${left} bytes follow`);
  const tail = await file.read(at.offset, left);
  // A batch begun later means that the fsync of this one had succeeded. Starts that the tail has no room for are chance.
  const later = findLaterBatch(tail, at.sequence, at.sequence + left);
  if (later !== undefined) throw damaged(at.offset, at.sequence, `${at.why}, and batch ${later} follows`);
}

function damaged(offset: number, sequence: number, what: string): Error {
  const where = { offset: String(offset), sequence: String(sequence) };
  return fail("LOG_DAMAGED", `log is damaged at byte ${offset}, where record ${sequence} should be: ${what}`, {
    metadata: where,
  });
}

/** Reads ahead, so that a scan makes one system call per MiB and not one per record. */
class Window {
  readonly #file: LogFile;
  readonly #size: number;
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(file: LogFile, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /** At least `maxFrameBytes` from `offset`, or all that is left. */
  async at(offset: number): Promise<Buffer> {
    const end = this.#start + this.#bytes.length;
    if (offset < this.#start || (end < this.#size && end - offset < maxFrameBytes)) {
      this.#bytes = await this.#file.read(offset, Math.min(readBytes, this.#size - offset));
      this.#start = offset;
    }
    return this.#bytes.subarray(offset - this.#start);
  }
}
