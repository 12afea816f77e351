import { constants, mkdirSync, unlinkSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { LauncherConfig } from "../config.ts";
import { removeTree } from "../files.ts";

const mib = 1024 * 1024;
/** A guest may have been too slow on a busy host. */
const triedAgainAfterMs = 600_000;
/** Sizes are a tenant's to choose: what is remembered of those that failed is forgotten then. */
const maxUnfit = 256;

/**
 * The templates of this launcher: the state of a VM whose guest had no identity yet, by everything that the machine's shape and memory come from.
 *
 * 1. A template is a file without a name, open in this process only: nobody else can write, replace or offer one, and with the launcher it is gone.
 * 2. The key holds what may differ between two starts of one launcher. QEMU, the kernel's arguments and the host's processor may not.
 * 3. There are at most `maxCount` of them and `maxMib` MiB; the one that was used longest ago goes first.
 */
export interface TemplateStore {
  /** A template, open for reading from its start. The caller closes it. */
  open(key: string): Promise<FileHandle | undefined>;
  /**
   * A new file for the template of `key`, which is to be kept or given up; undefined when there is to be none: templates are off, it is being
   * made already, or could not be made in the last ten minutes.
   */
  begin(key: string): Promise<TemplateDraft | undefined>;
  /** Forgets one that is of no use. */
  drop(key: string): Promise<void>;
  count(): number;
  /** What templates may still take of the disk, beside what they have taken. */
  bytesToCome(): number;
}

export interface TemplateDraft {
  readonly file: FileHandle;
  keep(): Promise<void>;
  /** Whoever wants the same soon is not made to wait for it again. */
  giveUp(): Promise<void>;
}

export interface TemplateShape {
  /** The verified copy that it is started from; its name follows from its digests. */
  readonly imageDirectory: string;
  readonly vcpuCount: number;
  readonly memoryMib: number;
  readonly overlayMib: number;
}

export const templateKey = ({ imageDirectory, vcpuCount, memoryMib, overlayMib }: TemplateShape): string =>
  [imageDirectory, vcpuCount, memoryMib, overlayMib].join(" ");

export function openTemplateStore(
  { stateDir, templates: { mode, maxCount, maxMib } }: Pick<LauncherConfig, "stateDir" | "templates">,
  nowMs = () => performance.now(),
): TemplateStore {
  const directory = `${stateDir}/templates`;
  removeTree(directory); // of a launcher that was killed between the two calls below
  mkdirSync(directory, { mode: 0o700 });
  /** In the order of their last use. */
  const kept = new Map<string, { readonly file: FileHandle; readonly bytes: number }>();
  const making = new Set<string>();
  /** When it is worth another try. */
  const unfit = new Map<string, number>();
  let lastName = 0;

  const drop = async (key: string) => {
    const found = kept.get(key);
    kept.delete(key);
    await found?.file.close();
  };
  const bytes = () => [...kept.values()].reduce((sum, template) => sum + template.bytes, 0);
  const makeRoom = async () => {
    for (const key of kept.keys()) {
      if (kept.size <= maxCount && bytes() <= maxMib * mib) return;
      await drop(key);
    }
  };
  return {
    async open(key) {
      const found = kept.get(key);
      if (found === undefined) return undefined;
      kept.delete(key);
      kept.set(key, found);
      // Not the descriptor itself: two VMMs would share its offset, and one could be written through.
      return await open(`/proc/self/fd/${found.file.fd}`, constants.O_RDONLY);
    },
    async begin(key) {
      if (mode === "off" || making.has(key) || kept.has(key) || (unfit.get(key) ?? 0) > nowMs()) return undefined;
      making.add(key);
      lastName += 1;
      const path = `${directory}/${lastName}`;
      const file = await open(path, "wx+", 0o600).catch((error: unknown) => {
        making.delete(key);
        throw error;
      });
      unlinkSync(path);
      return {
        file,
        async keep() {
          making.delete(key);
          kept.set(key, { file, bytes: (await file.stat()).size });
          await makeRoom();
        },
        async giveUp() {
          making.delete(key);
          if (unfit.size === maxUnfit) unfit.clear();
          unfit.set(key, nowMs() + triedAgainAfterMs);
          await file.close();
        },
      };
    },
    drop,
    count: () => kept.size,
    bytesToCome: () => (mode === "off" ? 0 : Math.max(0, maxMib * mib - bytes())),
  };
}
