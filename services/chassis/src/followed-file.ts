import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { isAbsence } from "./absence.ts";
import { fileStamp } from "./file-stamp.ts";
import type { Logger } from "./logger.ts";

const maxBytes = 1024 * 1024;
const checkIntervalMs = 1000;
/** No file's stamp. */
const neverRead = "";

/**
 * Reads a file of JSON and follows it: a change counts within a second, without a restart. A file that became unreadable or wrong keeps what
 * was read last, with an error in the log. Until the first read succeeds its value is `unread`, and it may not be there yet; without that, a first read that fails throws.
 * `what` names the file in the log.
 */
export function followFile<T>(
  path: string,
  what: string,
  parse: (json: unknown) => T,
  logger: Logger,
  nowMs: () => number = Date.now,
  unread?: T,
): () => T {
  let fault = "";
  const read = (current: Read<T> | undefined): Read<T> => {
    try {
      if (current !== undefined && fileStamp(lstatSync(path, { bigint: true })) === current.stamp) return current;
      const { stamp, text } = readWhole(path);
      const value = parse(JSON.parse(text));
      fault = "";
      return { stamp, value };
    } catch (error) {
      if (current === undefined) throw error;
      const said = String(error);
      if (said !== fault) {
        if (current.stamp === neverRead && isAbsence(error)) logger.info({ path }, `${what} file is not there yet`);
        else logger.error({ err: error, path }, `${what} file is not usable, keeping what was read before`);
      }
      fault = said;
      return current;
    }
  };
  let current = read(unread === undefined ? undefined : { stamp: neverRead, value: unread });
  let checkedMs = nowMs();
  return () => {
    const now = nowMs();
    if (Math.abs(now - checkedMs) < checkIntervalMs) return current.value;
    checkedMs = now;
    current = read(current);
    return current.value;
  };
}

interface Read<T> {
  readonly stamp: string;
  readonly value: T;
}

/**
 * A regular file, no link, of a bounded size: who may write its directory is not always who reads it, and could otherwise have the reader
 * wait at a pipe, read a device for ever, or tell of another file in its log.
 */
function readWhole(path: string): { stamp: string; text: string } {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const status = fstatSync(descriptor, { bigint: true });
    if (!status.isFile()) throw new Error(`${path} is not a regular file`);
    if (status.size > maxBytes) throw new RangeError(`${path} is larger than ${maxBytes} bytes`);
    const bytes = Buffer.alloc(Number(status.size));
    let filled = 0;
    while (filled < bytes.length) {
      const count = readSync(descriptor, bytes, filled, bytes.length - filled, filled);
      if (count === 0) throw new Error(`${path} became shorter while it was read`);
      filled += count;
    }
    return { stamp: fileStamp(status), text: bytes.toString("utf8") };
  } finally {
    closeSync(descriptor);
  }
}
