/**
 * The one file that the log is. `file-on-disk.ts` is the real one; `simulated-disk.ts` loses what a power cut loses.
 * Calls come one at a time, except `read` and `freeBytes`, which may run beside any other.
 */
export interface LogFile {
  /** Bytes in the file, written and not yet synced ones included. */
  size(): Promise<number>;

  /** `length` bytes from `offset`, or those that there are before the end. */
  read(offset: number, length: number): Promise<Buffer>;

  /**
   * Adds `bytes` at the end. Not durable on return. After a failure any prefix of them may be in the file, and the caller
   * must not append again.
   */
  append(bytes: Uint8Array): Promise<void>;

  /**
   * Everything appended or cut before is on stable storage on return. After a failure nothing is known about it and the caller must not
   * call again: Linux reports a write-back error once and marks the lost pages clean, so a second fsync lies.
   */
  sync(): Promise<void>;

  /** Cuts the file to `size`. Used once, on a torn tail, before the first append. Not durable before `sync`. */
  truncate(size: number): Promise<void>;

  /** Bytes that an unprivileged process can still use on this file system. */
  freeBytes(): Promise<number>;

  close(): Promise<void>;
}
