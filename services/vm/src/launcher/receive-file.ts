import type { FileHandle } from "node:fs/promises";
import { Duplex } from "node:stream";
import { LauncherError } from "./protocol.ts";

const whole = `${JSON.stringify({ ok: true, result: {} })}\n`;

export interface ReceiveOrder {
  readonly shortest: number;
  readonly longest: number;
  write(piece: Buffer, offset: number): Promise<void>;
  /** All of it has come. The sender is told once this has resolved. */
  finish(): Promise<void>;
  /** It did not come whole. */
  giveUp(): void;
}

/** A stream that takes the bytes of a file, closes it, and answers with one line once all of it is there. */
export function receiveFile(file: FileHandle, { shortest, longest, ...order }: ReceiveOrder): Duplex {
  let [written, isWhole] = [0, false];
  const take = async (piece: Buffer) => {
    const offset = written;
    written += piece.length;
    if (written > longest) throw new LauncherError("INVALID_REQUEST", "the file is too long");
    await order.write(piece, offset);
  };
  const finish = async () => {
    if (written < shortest) throw new LauncherError("INVALID_REQUEST", "the file is too short");
    await order.finish();
    isWhole = true;
  };
  const stream: Duplex = new Duplex({
    read: () => {},
    write: (piece, _encoding, done) => void take(piece).then(() => done(), done),
    final: (done) =>
      void finish().then(() => {
        stream.push(whole);
        stream.push(null);
        done();
      }, done),
    destroy(error, done) {
      if (!isWhole) order.giveUp();
      void file.close().then(() => done(error), done);
    },
  });
  return stream;
}

export async function writeFully(file: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
}
