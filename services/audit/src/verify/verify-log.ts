import { decodeLeaf, type Instant } from "../log/canonical.ts";
import { type Checkpoint, openCheckpoint } from "../tree/checkpoint.ts";
import type { MerkleTree } from "../tree/merkle-tree.ts";
import { NoteError, type NoteVerifier } from "../tree/signed-note.ts";
import { type ReadFrame, readLog } from "./read-log.ts";
import { WriterCounts } from "./writer-counts.ts";

/** One thing that is wrong, for a person. */
export interface Fault {
  readonly kind: "damaged" | "order" | "rewritten" | "truncated" | "fork";
  readonly text: string;
}

/** What a verification found. The log is as it was signed if there is no fault. */
export interface Verdict {
  readonly faults: readonly Fault[];
  /** Faults beyond those that are kept. */
  readonly moreFaults: number;
  readonly records: number;
  readonly checkpoints: number;
  /** Notes that the key did not sign, or that are none. Anybody can put those there, so they prove nothing. */
  readonly foreignNotes: number;
  /** The largest checkpoint that the log agrees with. */
  readonly newest: Checkpoint | undefined;
  /** What stands after the last record and is none, where no checkpoint covers it: an append that was under way, or that a crash left. */
  readonly unfinishedTail: string | undefined;
  /** Records that their writers counted and the log does not have: never acknowledged, or still waiting in a spool. */
  readonly missingFromWriters: number;
}

const maxFaults = 20;

/**
 * Compares a log with the checkpoints that a witness kept. Trusts `verifier` and nothing else: not the service, its index, or any hash that the
 * log has with it. `tree` is empty, and filled here.
 *
 * Any change of a record that a checkpoint covers changes the root of its tree, and any cut leaves fewer records than were signed.
 */
export async function verifyLog(input: {
  readonly logPath: string;
  readonly notes: AsyncIterable<string>;
  readonly verifier: NoteVerifier;
  readonly tree: MerkleTree;
}): Promise<Verdict> {
  const faults = new Faults();
  const counts = new WriterCounts();
  const { tree } = input;
  const order = new Order(faults);
  let unreadable: string | undefined;
  for (const read of readLog(input.logPath)) {
    if (read.kind === "unreadable") {
      unreadable = unreadableText(read, tree.size);
      break;
    }
    checkRecord(read, tree.size, { order, counts, faults });
    tree.add([read.frame.leafHash]);
  }
  const { longest, ...signed } = await compareCheckpoints(input, faults);
  const unfinishedTail = longest > tree.size ? undefined : unreadable;
  if (longest > tree.size && unreadable !== undefined) {
    faults.add("damaged", `${unreadable}; ${longest} records were signed`);
  } else if (longest > tree.size) {
    faults.add("truncated", `${longest} records were signed, and the log has ${tree.size}: its end is cut off`);
  }
  const counted = { records: tree.size, missingFromWriters: counts.missing() };
  return { ...faults.found(), ...signed, ...counted, unfinishedTail };
}

function checkRecord(
  { frame, offset }: Extract<ReadFrame, { kind: "frame" }>,
  place: number,
  checks: { order: Order; counts: WriterCounts; faults: Faults },
): void {
  checks.order.nextSequence(frame.sequence, offset);
  try {
    const record = decodeLeaf(frame.leaf);
    checks.order.nextTime(place, record.appendTime);
    checks.counts.see(record);
  } catch (error) {
    checks.faults.add("damaged", `record ${place} at byte ${offset} is no record: ${messageOf(error)}`);
  }
}

async function compareCheckpoints(
  { notes, verifier, tree }: { notes: AsyncIterable<string>; verifier: NoteVerifier; tree: MerkleTree },
  faults: Faults,
): Promise<Pick<Verdict, "checkpoints" | "foreignNotes" | "newest"> & { longest: number }> {
  let [checkpoints, foreignNotes, firstBad] = [0, 0, Number.POSITIVE_INFINITY];
  let newest: Checkpoint | undefined;
  let longest = 0;
  for await (const note of notes) {
    const checkpoint = openQuietly(note, verifier);
    if (checkpoint === undefined) {
      foreignNotes += 1;
      continue;
    }
    checkpoints += 1;
    longest = Math.max(longest, checkpoint.size);
    if (checkpoint.size > tree.size) continue;
    if (checkpoint.root.equals(tree.rootAt(checkpoint.size))) {
      if (newest === undefined || checkpoint.size >= newest.size) newest = checkpoint;
    } else {
      firstBad = Math.min(firstBad, checkpoint.size);
    }
  }
  const agreed = newest?.size ?? 0;
  if (firstBad <= agreed) {
    const where = `one of them covers ${firstBad} records`;
    faults.add(
      "fork",
      `the key signed two histories: checkpoints disagree with others that the log agrees with; ${where}`,
    );
  } else if (firstBad !== Number.POSITIVE_INFINITY) {
    const where = agreed === 0 ? `among the first ${firstBad}` : `among records ${agreed} to ${firstBad - 1}`;
    faults.add("rewritten", `the log is not what was signed: something was changed, removed or added ${where}`);
  }
  return { checkpoints, foreignNotes, newest, longest };
}

function openQuietly(note: string, verifier: NoteVerifier): Checkpoint | undefined {
  try {
    return openCheckpoint(note, verifier);
  } catch (error) {
    if (error instanceof NoteError) return undefined;
    throw error;
  }
}

function unreadableText({ offset, why, bytesLeft }: Extract<ReadFrame, { kind: "unreadable" }>, place: number): string {
  return `byte ${offset}, where record ${place} should be: ${why}; ${bytesLeft} bytes are unreadable`;
}

/** Sequences go up by one and append times never go back in a log that audit wrote. */
class Order {
  readonly #faults: Faults;
  #due = 0;
  #last: Instant = { seconds: -(2n ** 63n), nanos: 0 };

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  /** Reported where the order breaks, and not for every record after it. */
  nextSequence(sequence: number, offset: number): void {
    if (sequence !== this.#due) {
      this.#faults.add("order", `record ${sequence} stands at byte ${offset}, where record ${this.#due} should be`);
    }
    this.#due = sequence + 1;
  }

  nextTime(place: number, time: Instant): void {
    const { seconds, nanos } = this.#last;
    if (time.seconds < seconds || (time.seconds === seconds && time.nanos < nanos)) {
      this.#faults.add("order", `record ${place} was appended before the one ahead of it`);
    }
    this.#last = time;
  }
}

class Faults {
  readonly #kept: Fault[] = [];
  #more = 0;

  add(kind: Fault["kind"], text: string): void {
    if (this.#kept.length < maxFaults) this.#kept.push({ kind, text });
    else this.#more += 1;
  }

  found(): { readonly faults: readonly Fault[]; readonly moreFaults: number } {
    return { faults: this.#kept, moreFaults: this.#more };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
