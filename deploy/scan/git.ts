import { execFile } from "node:child_process";
import { promisify } from "node:util";

const limits = { timeout: 60_000, maxBuffer: 256 * 1024 * 1024 };

/** What `git` prints for these parameters in `repository`. Throws with its words if it fails. */
export async function run(repository: string, ...parameters: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)("git", ["-C", repository, ...parameters], limits);
  return stdout;
}

/** False where there is no repository, as in an unpacked archive. */
export async function isRepository(directory: string): Promise<boolean> {
  try {
    await run(directory, "rev-parse", "HEAD");
    return true;
  } catch {
    // No git, no repository and no commit are the same here: there is no history to search.
    return false;
  }
}
