import { z } from "zod";
import { type VmmDescription, vmmFail } from "./port.ts";

/**
 * A saved state as the port hands it out: this line, a header of JSON behind its length, then frames of at most 1 MiB behind
 * their lengths (4 bytes, big endian), and a frame of length 0. So a state that was cut off at any byte, or has more behind it, is none.
 */
const magic = Buffer.from("lobsterd-state-1\n");
const maxHeaderBytes = 1024;
export const maxFrameBytes = 1024 * 1024;

/** What a state is made by, and can be loaded by. */
type StateMaker = Pick<VmmDescription, "vmm" | "version" | "accelerator">;

/** Which VMMs understand each other's states. */
const headerSchema = z.strictObject({ vmm: z.string(), version: z.string(), accelerator: z.string() });
type StateHeader = z.infer<typeof headerSchema>;

const headerOf = ({ vmm, version, accelerator }: StateMaker): StateHeader => ({ vmm, version, accelerator });

/** Frames what a VMM writes, in pieces that are nobody else's. `complete` says, after its last byte, whether that was all: it throws when it was not. */
export async function* frameState(
  description: StateMaker,
  state: AsyncIterable<Buffer>,
  complete: () => Promise<void>,
): AsyncGenerator<Buffer> {
  const header = Buffer.from(JSON.stringify(headerOf(description)));
  yield Buffer.concat([magic, lengthOf([header]), header]);
  for await (const pieces of byFrame(state)) yield* [lengthOf(pieces), ...pieces];
  await complete();
  yield lengthOf([]);
}

/**
 * What a VMM wrote, out of its frames, as parts of the pieces of `state`; `taken` is told of a piece when what follows it is asked for. Throws VMM_FAILED when the state is short, long or corrupt (which is known at its end), and
 * MACHINE_MISMATCH before the first byte when another VMM wrote it.
 */
export async function* unframeState(
  description: StateMaker,
  state: AsyncIterable<Buffer>,
  taken: (piece: Buffer) => void = () => undefined,
): AsyncGenerator<Buffer> {
  const reader = openReader(state, taken);
  if (!(await reader.take(magic.length)).equals(magic)) throw corrupt("it is no saved state");
  const header = parseHeader(await reader.take(await lengthIn(reader, maxHeaderBytes)));
  const own = headerOf(description);
  const differing = (Object.keys(own) as (keyof StateHeader)[]).filter((field) => header[field] !== own[field]);
  if (differing.length > 0) throw vmmFail("MACHINE_MISMATCH", `the state is of another ${differing.join(", ")}`);
  for (;;) {
    const length = await lengthIn(reader, maxFrameBytes);
    if (length === 0) break;
    yield* reader.pass(length);
  }
  if (!(await reader.atEnd())) throw corrupt("it is too long");
}

/** What comes in pieces, taken by lengths. Throws VMM_FAILED where it ends too early. */
export interface StateReader {
  take(length: number): Promise<Buffer>;
  /** As `take`, in the pieces in which it comes. */
  pass(length: number): AsyncGenerator<Buffer>;
  atEnd(): Promise<boolean>;
}

export function openReader(
  state: AsyncIterable<Buffer>,
  taken: (piece: Buffer) => void = () => undefined,
): StateReader {
  const chunks = state[Symbol.asyncIterator]();
  let whole: Buffer = Buffer.alloc(0);
  let rest = whole;
  const fill = async () => {
    while (rest.length === 0) {
      taken(whole);
      const next = await chunks.next();
      if (next.done === true) return false;
      whole = next.value;
      rest = whole;
    }
    return true;
  };
  async function* pass(length: number): AsyncGenerator<Buffer> {
    for (let missing = length; missing > 0; ) {
      if (!(await fill())) throw corrupt("it is too short");
      const piece = rest.subarray(0, missing);
      rest = rest.subarray(piece.length);
      missing -= piece.length;
      yield piece;
    }
  }
  const take = async (length: number) => {
    const pieces: Buffer[] = [];
    for await (const piece of pass(length)) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  return { pass, take, atEnd: async () => !(await fill()) };
}

function parseHeader(bytes: Buffer): StateHeader {
  try {
    return headerSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw vmmFail("VMM_FAILED", "the state is refused: its header is malformed", { cause: error });
  }
}

async function lengthIn(reader: StateReader, limit: number): Promise<number> {
  const length = (await reader.take(4)).readUInt32BE();
  if (length > limit) throw corrupt("a length is too long");
  return length;
}

/** What comes in the pieces of a socket, gathered and not joined or cut: they would be copied, and share what they are made of. */
async function* byFrame(state: AsyncIterable<Buffer>): AsyncGenerator<readonly Buffer[]> {
  let [pieces, bytes]: [Buffer[], number] = [[], 0];
  for await (const piece of inFrames(state)) {
    if (bytes + piece.length > maxFrameBytes) {
      yield pieces;
      [pieces, bytes] = [[], 0];
    }
    pieces.push(piece);
    bytes += piece.length;
  }
  if (pieces.length > 0) yield pieces;
}

/** A piece that no frame holds is cut. */
async function* inFrames(state: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of state) {
    if (piece.length <= maxFrameBytes) yield piece;
    else for (let at = 0; at < piece.length; at += maxFrameBytes) yield piece.subarray(at, at + maxFrameBytes);
  }
}

function lengthOf(pieces: readonly Uint8Array[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  return length;
}

export const corrupt = (why: string) => vmmFail("VMM_FAILED", `the state is refused: ${why}`);
