/** How often a tenant is repaired: at once, then ever later, and slowly once it was given up. Pure: what a moment means is the caller's. */

/** Repairs without a steady time between them, and when the next one may begin. */
export interface Pace {
  readonly attempts: number;
  readonly lastMs: number;
  readonly notBeforeMs: number;
}

export interface PaceLimits {
  /** Between the first repair and the second; twice as long after each further one. */
  readonly repairBackoffMs: number;
  /** Between attempts to bring a FAILED tenant back. */
  readonly failedRetryMs: number;
}

/** So many repairs in a row that fail, or do not last, are enough. */
export const maxAttempts = 3;
/** A tenant that was well for so long has got over it: the next repair is a first one again. */
export const steadyMs = 60_000;

export const rested: Pace = { attempts: 0, lastMs: Number.NEGATIVE_INFINITY, notBeforeMs: Number.NEGATIVE_INFINITY };

/** After a repair that ended at `nowMs`, whether or not it helped. */
export function afterRepair({ attempts }: Pace, nowMs: number, { repairBackoffMs }: PaceLimits): Pace {
  return { attempts: attempts + 1, lastMs: nowMs, notBeforeMs: nowMs + repairBackoffMs * 2 ** attempts };
}

/** Once the tenant is FAILED, and after each attempt to bring it back. */
export function givenUp(nowMs: number, { failedRetryMs }: PaceLimits): Pace {
  return { attempts: maxAttempts, lastMs: nowMs, notBeforeMs: nowMs + failedRetryMs };
}

export const isSteady = ({ lastMs }: Pace, nowMs: number): boolean => nowMs - lastMs >= steadyMs;
