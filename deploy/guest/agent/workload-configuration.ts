import { createHash } from "node:crypto";
import { chown, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { eraseFile, type Owner } from "./secret-files.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A pointer that does not fit the configuration it points into. */
export class PointerError extends Error {
  override readonly name = "PointerError";
}

/**
 * `base` with the text of each JSON pointer (`/a/b`) put where it points; objects on the way are made. Throws `PointerError` where something
 * other than an object is in the way, and for names that mean more than a field to JavaScript.
 */
export function withFields(base: Fields, fields: ReadonlyMap<string, string>): Fields {
  const result: Record<string, unknown> = structuredClone(base) as Record<string, unknown>;
  for (const [pointer, value] of fields) {
    const names = pointer.split("/").slice(1);
    const last = names.pop();
    if (last === undefined) throw new PointerError("a pointer begins with a slash");
    let place = result;
    for (const name of names) place = objectAt(place, name);
    refuseUnsafe(last);
    if (isObject(place[last])) throw new PointerError("an object is where a value has to go");
    place[last] = value;
  }
  return result;
}

function objectAt(parent: Record<string, unknown>, name: string): Record<string, unknown> {
  refuseUnsafe(name);
  const child = Object.hasOwn(parent, name) ? parent[name] : undefined;
  if (isObject(child)) return child;
  if (child !== undefined) throw new PointerError("a value is where an object has to be");
  const made: Record<string, unknown> = {};
  parent[name] = made;
  return made;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuseUnsafe(name: string): void {
  if (/^(__proto__|constructor|prototype)$/.test(name)) throw new PointerError("not the name of a field");
}

/**
 * The workload's configuration file: what the platform says of the guest, with secrets in the fields that they are bound to. Calls are serialised
 * by the caller.
 */
export class WorkloadConfiguration {
  readonly #path: string;
  readonly #owner: Owner;
  #base: Fields | undefined;
  /** Digest of what the workload last had, which `forget` does not change. */
  #written: string | undefined;
  #isForgotten = false;

  constructor(path: string, owner: Owner) {
    this.#path = path;
    this.#owner = owner;
  }

  /** What the file would hold. Throws `PointerError`, and changes nothing. */
  async compose(fields: ReadonlyMap<string, string>): Promise<string> {
    // What is there at first was written before the workload ran, by this agent.
    this.#base ??= JSON.parse(await readFile(this.#path, "utf8")) as Fields;
    this.#written ??= digest(`${JSON.stringify(this.#base)}\n`);
    return `${JSON.stringify(withFields(this.#base, fields))}\n`;
  }

  /** Makes the file hold `text` in one step, readable by the workload's user only. True if that is a change to what the workload last had. */
  async write(text: string): Promise<boolean> {
    const isChange = digest(text) !== this.#written;
    if (isChange || this.#isForgotten) await this.#put(text);
    this.#written = digest(text);
    this.#isForgotten = false;
    return isChange;
  }

  /** Leaves the platform's fields only. The same set written again is then no change. */
  async forget(): Promise<void> {
    if (this.#base === undefined) return;
    const bare = `${JSON.stringify(this.#base)}\n`;
    if (this.#written === digest(bare)) return;
    await eraseFile(this.#path, () => this.#put(bare));
    this.#isForgotten = true;
  }

  async #put(text: string): Promise<void> {
    const temporary = join(dirname(this.#path), ".configuration");
    await rm(temporary, { force: true });
    await writeFile(temporary, text, { mode: 0o400, flag: "wx" });
    await chown(temporary, this.#owner.uid, this.#owner.gid);
    await rename(temporary, this.#path);
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}
