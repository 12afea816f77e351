import { readFileSync, statSync } from "node:fs";
import type { Logger } from "./logger.ts";

const maxBytes = 1024 * 1024;
const checkIntervalMs = 1000;

/**
 * Reads a file of JSON and follows it: a change counts within a second, without a restart. A file that became unreadable or wrong keeps what
 * was read last, with an error in the log. Throws if the first read fails. `what` names the file in the log.
 */
export function followFile<T>(
  path: string,
  what: string,
  parse: (json: unknown) => T,
  logger: Logger,
  nowMs: () => number = Date.now,
): () => T {
  const read = () => {
    if (statSync(path).size > maxBytes) throw new RangeError(`${path} is larger than ${maxBytes} bytes`);
    const before = stampOf(path);
    return { stamp: before, value: parse(JSON.parse(readFileSync(path, "utf8"))) };
  };
  let current = read();
  let checkedMs = nowMs();
  return () => {
    const now = nowMs();
    if (Math.abs(now - checkedMs) < checkIntervalMs) return current.value;
    checkedMs = now;
    try {
      if (stampOf(path) !== current.stamp) current = read();
    } catch (error) {
      logger.error({ err: error, path }, `${what} file is not usable, keeping what was read before`);
    }
    return current.value;
  };
}

function stampOf(path: string): string {
  const { ino, size, mtimeNs } = statSync(path, { bigint: true });
  return `${ino}:${size}:${mtimeNs}`;
}
