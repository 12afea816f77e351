import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type Frame, fileHeader, maxFrameBytes, parseFrame } from "../log/frame.ts";

const readBytes = 1024 * 1024;

/** A whole frame, or where and why the rest of the file is none. */
export type ReadFrame =
  | { readonly kind: "frame"; readonly frame: Frame; readonly offset: number }
  | { readonly kind: "unreadable"; readonly offset: number; readonly why: string; readonly bytesLeft: number };

/** The frames of a log file or of an export, in order, in a bounded amount of memory. Bytes that are no frame end it: where the next one begins is not known then. */
export function* readLog(path: string): Generator<ReadFrame> {
  const descriptor = openSync(path, "r");
  try {
    const { size } = fstatSync(descriptor);
    const window: { bytes: Buffer; start: number } = { bytes: Buffer.alloc(0), start: 0 };
    const bytesAt = (offset: number): Buffer => {
      const end = window.start + window.bytes.length;
      if (end < size && end - offset < maxFrameBytes) {
        window.bytes = readAt(descriptor, offset, Math.min(readBytes, size - offset));
        window.start = offset;
      }
      return window.bytes.subarray(offset - window.start);
    };
    if (!bytesAt(0).subarray(0, fileHeader.length).equals(fileHeader)) {
      yield { kind: "unreadable", offset: 0, why: "the file does not begin as an audit log", bytesLeft: size };
      return;
    }
    for (let offset = fileHeader.length; offset < size; ) {
      const parsed = parseFrame(bytesAt(offset));
      if (parsed.kind === "bad") {
        yield { kind: "unreadable", offset, why: parsed.why, bytesLeft: size - offset };
        return;
      }
      yield { kind: "frame", frame: parsed.frame, offset };
      offset += parsed.frame.bytes;
    }
  } finally {
    closeSync(descriptor);
  }
}

function readAt(descriptor: number, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const count = readSync(descriptor, bytes, filled, length - filled, offset + filled);
    if (count === 0) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}
