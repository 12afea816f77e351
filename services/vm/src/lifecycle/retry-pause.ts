const firstPauseMs = 30_000;
const longestPauseMs = 3_600_000;

/** How long a tenant is left alone after so many failures in a row, at least one, of what this host does to it unasked. */
export function retryPauseMs(failures: number): number {
  return Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1));
}
