import type { Secret } from "@lobsterd/chassis/secret.ts";

/** A tenant key as a provider hands it out and takes it back. */
export interface WrappedKey {
  /** Id of the root key that wrapped it. */
  readonly rootKeyId: string;
  readonly bytes: Uint8Array;
}

/** Which key is wrapped: bound into the result, so that it unwraps for no other tenant or id. */
export interface WrapTarget {
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
 * Holds the root key. It wraps tenant keys only (32 bytes each) and keeps nothing of what it wrapped. Every implementation
 * passes `conformance.ts`.
 *
 * `wrap` and `unwrap` may be called at any time and in parallel, and are safe to repeat. Both throw ROOT_KEY_UNAVAILABLE
 * when the root key, or the root key with that id, cannot be used now; the caller may retry later and the provider
 * recovers without a restart. `unwrap` throws SEAL_BROKEN for bytes or a target other than those of `wrap`.
 */
export interface RootKeyProvider {
  readonly kind: string;
  /** The caller still owns `key`. */
  wrap(key: Uint8Array, target: WrapTarget): Promise<WrappedKey>;
  unwrap(wrapped: WrappedKey, target: WrapTarget): Promise<Secret>;
  /** Never throws. */
  health(): Promise<RootKeyHealth>;
}
