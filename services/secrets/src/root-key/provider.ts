import type { Secret } from "@lobsterd/chassis/secret.ts";

/** A tenant key as a provider hands it out and takes it back. */
export interface WrappedKey {
  /** Id of the root key that wrapped it. */
  readonly rootKeyId: string;
  readonly bytes: Uint8Array;
}

/** Which key is wrapped: bound into the result, so that it unwraps for no other tenant or id. */
export interface WrapTarget {
  /** Empty for the key of shared secrets. */
  readonly tenant: string;
  readonly tenantKeyId: string;
}

export type RootKeyHealth =
  | { readonly state: "ready"; readonly rootKeyId: string }
  /** Nothing there to wrap with; may come back by itself. */
  | { readonly state: "unavailable"; readonly detail: string }
  /** Someone else could read or replace the key: a service must not start with it. */
  | { readonly state: "unsafe"; readonly detail: string };

/**
 * Holds the root key, and for each tenant key one thing that can be destroyed. It wraps tenant keys only (32 random bytes each). Every
 * implementation passes `conformance.ts`.
 *
 * All but `health` may be called at any time and in parallel, are safe to repeat, and throw ROOT_KEY_UNAVAILABLE when the root key, or the
 * root key with that id, cannot be used now; the caller may retry later and the provider recovers without a restart.
 */
export interface RootKeyProvider {
  readonly kind: string;
  /** Makes a random tenant key under the newest root key. The key itself is not returned. */
  create(target: WrapTarget): Promise<WrappedKey>;
  /** Throws SEAL_BROKEN for bytes or a target other than those of `create`, TENANT_KEY_DESTROYED after `destroy`. */
  unwrap(wrapped: WrappedKey, target: WrapTarget): Promise<Secret>;
  /**
   * Takes back what `create` handed out: no copy of the wrapped key unwraps any more, not even with every root key there ever was.
   * Durable on return. Nothing to destroy is not an error.
   */
  destroy(tenantKeyId: string): Promise<void>;
  /**
   * From here on there is a newer root key for `create` and `rewrap`, durable, while `unwrap` takes both. Called again before `finishRotation` it
   * changes nothing where the provider can tell. Throws NEXT_ROOT_KEY_MISSING where an operator has to bring the key.
   */
  beginRotation(): Promise<{ readonly previousRootKeyId: string; readonly rootKeyId: string }>;
  /** The same tenant key under the newest root key. */
  rewrap(wrapped: WrappedKey, target: WrapTarget): Promise<WrappedKey>;
  /** Retires every root key but the newest, as far as it is the provider's to retire. */
  finishRotation(): Promise<void>;
  /** Never throws. */
  health(): Promise<RootKeyHealth>;
}
