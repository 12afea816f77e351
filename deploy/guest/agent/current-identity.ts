import { EventEmitter } from "node:events";
import type { Identity } from "./identity.ts";

/** What a listener of a change is told: the new identity, and whether it is of a later generation. */
export type IdentityChange = { readonly identity: Identity; readonly isNewGeneration: boolean };

/** The identity this guest has now. It changes at every renewal, and its generation at every resume. */
export class CurrentIdentity {
  readonly #changes = new EventEmitter<{ change: [IdentityChange] }>();
  #identity: Identity;

  constructor(identity: Identity) {
    this.#identity = identity;
  }

  get value(): Identity {
    return this.#identity;
  }

  replace(identity: Identity): void {
    const isNewGeneration = identity.generation !== this.#identity.generation;
    this.#identity = identity;
    this.#changes.emit("change", { identity, isNewGeneration });
  }

  onChange(listener: (change: IdentityChange) => void): void {
    this.#changes.on("change", listener);
  }
}
