/** How one question to `vm` ended. Seconds are whole. */
export type WakeVerdict =
  | { readonly kind: "awake" }
  /** `scope` says of whom it is true until then: of this tenant, or of the host. */
  | {
      readonly kind: "refused";
      readonly scope: "tenant" | "host";
      readonly retryAfterS: number;
      readonly reason: string;
    }
  /** `vm` is away or has not come to an end: it is asked again. */
  | { readonly kind: "unknown"; readonly reason: string };

/** Asks `vm` to wake one microVM. Never rejects. `signal` ends the question, not the wake. */
export type AskVm = (tenant: string, vmId: string, signal: AbortSignal) => Promise<WakeVerdict>;

/** What a request that was held is told. */
export type HeldAnswer =
  | { readonly kind: "awake" }
  /** The name leads nowhere any more. */
  | { readonly kind: "gone" }
  | { readonly kind: "refused"; readonly retryAfterS: number };

/** What became of a request to a sleeping tenant: how it was answered, or that it was not held, or its client left. */
export type HeldRequestOutcome = HeldAnswer["kind"] | "overdue" | "left" | "full";
