import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

const privateModes: ReadonlySet<number> = new Set([0o400, 0o600]);
/** What systemd makes of a credential for a unit with a user: root's, with an access list whose mask shows as the group's bits. */
const credentialModes: ReadonlySet<number> = new Set([0o400, 0o440]);

/** A key file that cannot be used. `missing` may heal by itself; `unsafe` is a fault of whoever installed it. */
export class PrivateFileError extends Error {
  override readonly name = "PrivateFileError";
  readonly state: "missing" | "unsafe";

  constructor(state: "missing" | "unsafe", message: string) {
    super(message);
    this.state = state;
  }
}

/**
 * Reads a file that nobody but this process's user may read: a regular file, not reached by a symbolic link in its last
 * step, owned by that user, mode 0400 or 0600, of `minBytes` to `maxBytes`. With `credential` it may also be root's (user and group), mode
 * 0400 or 0440, as systemd makes them. The caller owns, and wipes, the result.
 * Everything is checked on the open descriptor, so that the file cannot be exchanged in between. Throws `PrivateFileError`.
 */
export function readPrivateFile(
  path: string,
  limits: { minBytes: number; maxBytes: number; credential?: boolean },
): Buffer {
  const descriptor = openPrivate(path);
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new PrivateFileError("unsafe", `${path} is not a regular file`);
    const mode = status.mode & 0o7777;
    const isRoots = limits.credential === true && status.uid === 0 && status.gid === 0;
    if (!(isRoots ? credentialModes : privateModes).has(mode)) {
      const wanted = isRoots ? "0400 or 0440" : "0400 or 0600";
      throw new PrivateFileError("unsafe", `${path} has mode 0${mode.toString(8)}, must be ${wanted}`);
    }
    const user = process.geteuid?.();
    if (!isRoots && status.uid !== user) {
      throw new PrivateFileError("unsafe", `${path} is owned by uid ${status.uid}, must be ${user}`);
    }
    if (status.size < limits.minBytes || status.size > limits.maxBytes) {
      const wanted =
        limits.minBytes === limits.maxBytes ? `${limits.minBytes}` : `${limits.minBytes} to ${limits.maxBytes}`;
      throw new PrivateFileError("unsafe", `${path} has ${status.size} bytes, must have ${wanted}`);
    }
    return readFully(descriptor, status.size, path);
  } finally {
    closeSync(descriptor);
  }
}

function openPrivate(path: string): number {
  try {
    // O_NONBLOCK: opening a FIFO put in its place must not hang.
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    if (code === "ELOOP") throw new PrivateFileError("unsafe", `${path} is a symbolic link`);
    throw new PrivateFileError("missing", `${path} cannot be opened: ${code}`);
  }
}

function readFully(descriptor: number, size: number, path: string): Buffer {
  // Own memory: a slice of Node's shared pool could not be wiped without its neighbours.
  const bytes = Buffer.alloc(size);
  let filled = 0;
  while (filled < size) {
    const count = readSync(descriptor, bytes, filled, size - filled, filled);
    if (count === 0) throw new PrivateFileError("missing", `${path} became shorter while it was read`);
    filled += count;
  }
  return bytes;
}
