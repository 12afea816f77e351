const windowMs = 60_000;

/**
 * Counts what it is called for and calls `alarm` with the count when there were more than `limit` within a minute, at most once a
 * minute. It refuses nothing: a host that starts again spawns all its tenants at once, and they must come up.
 */
export function rateAlarm(limit: number, now: () => number, alarm: (count: number) => void): () => void {
  // Ring of the last `limit` moments: the oldest one within the window means that one more is too many.
  const moments: number[] = [];
  let quietUntilMs = 0;
  return () => {
    const nowMs = now();
    const oldestMs = moments.length < limit ? undefined : moments.shift();
    moments.push(nowMs);
    if (oldestMs === undefined || nowMs - oldestMs >= windowMs || nowMs < quietUntilMs) return;
    quietUntilMs = nowMs + windowMs;
    alarm(limit + 1);
  };
}
