import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** What decides an image's bytes besides the digests in the lock file: sources, and the versions of libraries and esbuild. */
const sources = ["agent", "gateway", "probe", "openclaw", "image"]
  .map((name) => `deploy/guest/${name}`)
  .concat("proto/gen");
const files = ["package-lock.json"];

function isInput(name: string): boolean {
  return /\.(ts|sh|json)$/.test(name) && !name.endsWith(".test.ts");
}

/** SHA-256 over every source file of the images, in path order, in hexadecimal. */
export async function inputsDigest(repository: string): Promise<string> {
  const paths = [...files];
  for (const directory of sources) {
    const names = await readdir(join(repository, directory), { recursive: true });
    paths.push(...names.filter(isInput).map((name) => join(directory, name)));
  }
  const hash = createHash("sha256");
  for (const path of paths.sort()) {
    const content = await readFile(join(repository, path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}
