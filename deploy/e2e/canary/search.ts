import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { encodings } from "@lobsterd/secrets/testing/canary.ts";

const chunkBytes = 4 * 1024 * 1024;

/** What is not written while the stack runs, and large (guest images, the copy of the VMM, the checkout), and namespaces, which are no data. */
const skipped = /\/(images|vmm|app|netns)$/;

/** What canaries have in common, in every form in which it could stand somewhere. */
export class Marker {
  readonly #forms: readonly Buffer[];
  readonly #longest: number;

  constructor(text: string) {
    this.#forms = encodings(text);
    this.#longest = Math.max(...this.#forms.map((form) => form.length));
  }

  isIn(bytes: Buffer): boolean {
    return this.#forms.some((form) => bytes.includes(form));
  }

  /** Reads in pieces that overlap by the longest form. A file that goes away meanwhile is not there. */
  isInFile(path: string): boolean {
    let descriptor: number;
    try {
      descriptor = openSync(path, "r");
    } catch {
      return false;
    }
    try {
      const buffer = Buffer.alloc(chunkBytes + this.#longest);
      let kept = 0;
      for (let count = 1; count > 0; ) {
        count = readSync(descriptor, buffer, kept, chunkBytes, null);
        const filled = buffer.subarray(0, kept + count);
        if (this.isIn(filled)) return true;
        kept = Math.min(this.#longest, filled.length);
        filled.copy(buffer, 0, filled.length - kept);
      }
      return false;
    } finally {
      closeSync(descriptor);
    }
  }
}

/** Regular files below `directory`: logs, databases and their journals, disks, sockets' directories. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return skipped.test(path) ? [] : filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/** Environments and command lines of every process of the machine, by path. */
export function processTexts(): Map<string, Buffer> {
  const texts = new Map<string, Buffer>();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const name of ["environ", "cmdline"]) {
      try {
        texts.set(`/proc/${pid}/${name}`, readFileSync(`/proc/${pid}/${name}`));
      } catch {
        // The process has ended, or is the kernel's.
      }
    }
  }
  return texts;
}
