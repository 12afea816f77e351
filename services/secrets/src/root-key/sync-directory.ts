import { closeSync, constants, fsyncSync, openSync } from "node:fs";

/** Makes names that were given or taken away in `directory` durable. */
export function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
