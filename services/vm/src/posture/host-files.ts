import { constants } from "node:fs";
import { lstat, open, readdir, readlink, statfs } from "node:fs/promises";
import { join } from "node:path";

/** What reading one thing of the host came to. A failure is a value: a control turns it into a verdict, and it is never a pass. */
export type Reading<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly cause: "missing" | "denied" | "unfit"; readonly why: string };

export interface FileStatus {
  readonly kind: "file" | "directory" | "link" | "other";
  /** Permission bits with set-uid, set-gid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Number of the device that holds the file. */
  readonly device: number;
  /** When its content or its inode last changed: for an installed file, when it was installed. */
  readonly changeTimeMs: number;
}

/** The one way in which controls see the kernel and the disk. Paths are absolute; every answer is bounded in size. */
export interface HostFiles {
  /** The text without white space around it; UNFIT when it is no regular file or larger than 4 MiB. */
  text(path: string): Promise<Reading<string>>;
  /** Names in a directory, sorted; UNFIT beyond 65,536. */
  names(path: string): Promise<Reading<readonly string[]>>;
  /** Of the thing itself: links are not followed. */
  status(path: string): Promise<Reading<FileStatus>>;
  /** Where a symbolic link points, as it is written. */
  link(path: string): Promise<Reading<string>>;
  /** The magic number that statfs gives. */
  fileSystemType(path: string): Promise<Reading<number>>;
}

const maxBytes = 4 * 1024 * 1024;
const maxNames = 65_536;

export const found = <T>(value: T): Reading<T> => ({ ok: true, value });
export const missing = (path: string): Reading<never> => ({ ok: false, cause: "missing", why: `${path} is missing` });
export const unfit = (path: string, what: string): Reading<never> => ({
  ok: false,
  cause: "unfit",
  why: `${path} ${what}`,
});

/** Files below `root`: `/` in production. */
export function openHostFiles(root = "/"): HostFiles {
  return {
    text: (path) =>
      attempt(path, async () => {
        // NONBLOCK: a FIFO in the place of a file must not hold the reader.
        await using file = await open(join(root, path), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
        if (!(await file.stat()).isFile()) return unfit(path, "is no regular file");
        const chunks: Buffer[] = [];
        let size = 0;
        for (;;) {
          const { bytesRead, buffer } = await file.read(Buffer.alloc(65_536), 0, 65_536, null);
          if (bytesRead === 0) return found(Buffer.concat(chunks).toString("utf8").trim());
          size += bytesRead;
          if (size > maxBytes) return unfit(path, `is larger than ${maxBytes} bytes`);
          chunks.push(buffer.subarray(0, bytesRead));
        }
      }),
    names: (path) =>
      attempt(path, async () => {
        const names = await readdir(join(root, path));
        return names.length > maxNames ? unfit(path, `has more than ${maxNames} entries`) : found(names.sort());
      }),
    status: (path) =>
      attempt(path, async () => {
        const status = await lstat(join(root, path));
        const { mode, uid, gid, dev, ctimeMs } = status;
        const kind = status.isFile() ? "file" : status.isDirectory() ? "directory" : undefined;
        return found({
          kind: kind ?? (status.isSymbolicLink() ? "link" : "other"),
          mode: mode & 0o7777,
          ...{ uid, gid, device: dev, changeTimeMs: ctimeMs },
        });
      }),
    link: (path) => attempt(path, async () => found(await readlink(join(root, path)))),
    fileSystemType: (path) => attempt(path, async () => found((await statfs(join(root, path))).type)),
  };
}

async function attempt<T>(path: string, read: () => Promise<Reading<T>>): Promise<Reading<T>> {
  try {
    return await read();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "an unknown error";
    if (code === "ENOENT" || code === "ENOTDIR") return missing(path);
    if (code === "EACCES" || code === "EPERM") {
      return { ok: false, cause: "denied", why: `${path} is not readable by this user` };
    }
    return unfit(path, `cannot be read (${code})`);
  }
}
