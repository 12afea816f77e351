import { inspect } from "node:util";

const redacted = "[redacted]";

/**
 * Secret bytes that no formatter can print. `take` owns the bytes from then on: the source is overwritten with zeros, so
 * that one copy is left and `destroy` reaches it.
 */
export class Secret {
  #bytes: Uint8Array | undefined;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Moves `bytes` into a Secret; `bytes` holds zeros afterwards. */
  static take(bytes: Uint8Array): Secret {
    const copy = Uint8Array.from(bytes);
    bytes.fill(0);
    return new Secret(copy);
  }

  /** Lends the bytes for the duration of `fn`, which must not keep them. Throws after `destroy`. */
  use<T>(fn: (bytes: Uint8Array) => T): T {
    if (this.#bytes === undefined) throw new Error("secret was destroyed");
    return fn(this.#bytes);
  }

  /** Overwrites the bytes; safe to repeat. */
  destroy(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  toString(): string {
    return redacted;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }
}
