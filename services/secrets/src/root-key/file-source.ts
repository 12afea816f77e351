import { chmodSync, closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { makeRootKey } from "./make-root-key.ts";
import { readPrivateFile } from "./private-file.ts";
import { type RootKey, type RootKeySource, rootKeyBytes, toRootKey } from "./root-key.ts";
import { syncDirectory } from "./sync-directory.ts";

/**
 * The root key is a file of 32 raw bytes at `path`; during a rotation the next one is at `<path>.next`. The directory has to be the
 * process's own to write for a rotation, and for nothing else.
 */
export function fileRootKeys(path: string): RootKeySource {
  const nextPath = `${path}.next`;
  return {
    kind: "file",
    read: () => ({ current: readKey(path), next: existsSync(nextPath) ? readKey(nextPath) : undefined }),

    makeNext() {
      if (existsSync(nextPath)) return;
      // A key that a crash left half-written would stop the next start, so it gets its name when it is whole.
      const unfinishedPath = `${nextPath}.unfinished`;
      rmSync(unfinishedPath, { force: true });
      makeRootKey(unfinishedPath);
      renameSync(unfinishedPath, nextPath);
      syncDirectory(dirname(path));
    },

    promoteNext() {
      if (!existsSync(nextPath)) return;
      // Opened before it loses its name, to be overwritten after: until the new name is durable the old key has to be whole.
      chmodSync(path, 0o600);
      const retired = openSync(path, "r+");
      try {
        renameSync(nextPath, path);
        syncDirectory(dirname(path));
        writeSync(retired, Buffer.alloc(rootKeyBytes), 0, rootKeyBytes, 0);
        fsyncSync(retired);
      } finally {
        closeSync(retired);
      }
    },
  };
}

function readKey(path: string): RootKey {
  return toRootKey(readPrivateFile(path, { minBytes: rootKeyBytes, maxBytes: rootKeyBytes }), path);
}
