import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The names that Caddy answers for. A name is there from the return of `add` until the return of `remove`, for the very next
 * request; both may be repeated.
 */
export interface NameFiles {
  add(tenant: string): void;
  remove(tenant: string): void;
  list(): string[];
}

/**
 * One empty file for each name in a directory on tmpfs. Caddy looks its file up before each request, which costs two
 * stat(2) calls; that is what cuts a withdrawn tenant off even where connections to its guest are pooled. Caddy needs search
 * permission on the directory and nothing on the files. Throws if the directory does not exist.
 */
export function openNameFiles(directory: string): NameFiles {
  if (!statSync(directory).isDirectory()) throw new Error(`${directory} is not a directory`);
  return {
    add: (tenant) => writeFileSync(join(directory, tenant), "", { mode: 0o600 }),
    remove: (tenant) => rmSync(join(directory, tenant), { force: true }),
    list: () => readdirSync(directory),
  };
}
