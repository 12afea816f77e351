/** Middle of the sorted samples; of two middles the mean. Throws on an empty list. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new RangeError("no samples");
  return (upper + lower) / 2;
}

/** Smallest and largest sample. */
export function spread(samples: readonly number[]): { low: number; high: number } {
  return { low: Math.min(...samples), high: Math.max(...samples) };
}

/** The sample that `share` (0 to 1) of all others are below. Throws on an empty list. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  if (value === undefined) throw new RangeError("no samples");
  return value;
}
