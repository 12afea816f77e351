import { chown, mkdir, open, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export type Owner = { readonly uid: number; readonly gid: number };
export type SecretFile = { readonly name: string; readonly value: Uint8Array };

/** Files that only the workload's user can read, in a directory on tmpfs. Calls are serialised by the caller. */
export class SecretFiles {
  readonly #directory: string;
  readonly #owner: Owner;

  constructor(directory: string, owner: Owner) {
    this.#directory = directory;
    this.#owner = owner;
  }

  /**
   * Makes the directory hold exactly `secrets`. Each file changes in one step, so a reader sees the old value or the new one; the
   * order is new values first, then removals.
   */
  async replace(secrets: readonly SecretFile[]): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o750 });
    await chown(this.#directory, 0, this.#owner.gid);
    for (const secret of secrets) await this.#write(secret);
    const kept = new Set(secrets.map((secret) => secret.name));
    for (const name of await readdir(this.#directory)) {
      if (!kept.has(name)) await rm(join(this.#directory, name));
    }
  }

  /** Overwrites and removes every file. A directory that was never made holds none. */
  async forget(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o750 });
    for (const name of await readdir(this.#directory)) await eraseFile(join(this.#directory, name));
  }

  async #write({ name, value }: SecretFile): Promise<void> {
    // Names have no dot, so this is never the name of a secret; what a crash leaves here is removed by the next call.
    const temporary = join(this.#directory, `.${name}`);
    await rm(temporary, { force: true });
    await writeFile(temporary, value, { mode: 0o400, flag: "wx" });
    await chown(temporary, this.#owner.uid, this.#owner.gid);
    await rename(temporary, join(this.#directory, name));
  }
}

/** Takes a file's name away, or gives it to another file by `replace`, and overwrites its bytes: freed pages of a tmpfs keep theirs. */
export async function eraseFile(path: string, replace: () => Promise<void> = () => rm(path)): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { size } = await file.stat();
    await replace();
    await file.write(new Uint8Array(size), 0, size, 0);
  } finally {
    await file.close();
  }
}
