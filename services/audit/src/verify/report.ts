import type { Verdict } from "./verify-log.ts";

/** The verdict for a person, in lines. */
export function describeVerdict(verdict: Verdict): string {
  const { faults, moreFaults, records, checkpoints, foreignNotes, newest, missingFromWriters } = verdict;
  const lines = [`${records} records, ${checkpoints} checkpoints signed by the key`];
  if (foreignNotes > 0) lines.push(`${foreignNotes} notes that it did not sign were passed over`);
  if (missingFromWriters > 0) {
    lines.push(
      `${missingFromWriters} records that writers numbered are not here: refused with their call, or still spooled`,
    );
  }
  if (verdict.unfinishedTail !== undefined)
    lines.push(`unfinished, and covered by no checkpoint: ${verdict.unfinishedTail}`);
  for (const { kind, text } of faults) lines.push(`FAULT ${kind}: ${text}`);
  if (moreFaults > 0) lines.push(`and ${moreFaults} more`);
  lines.push(conclusion(verdict));
  if (newest !== undefined && faults.length === 0) {
    const when = newest.timeMs === undefined ? "" : `, ${new Date(newest.timeMs).toISOString()}`;
    lines.push(`newest checkpoint: ${newest.size} records, root ${newest.root.toString("base64")}${when}`);
    if (records > newest.size)
      lines.push(`${records - newest.size} records after it are not covered by any checkpoint yet`);
  }
  return `${lines.join("\n")}\n`;
}

function conclusion({ faults, checkpoints, newest }: Verdict): string {
  if (faults.length > 0) return "NOT VERIFIED: the log is not what was signed";
  if (checkpoints === 0 || newest === undefined) return "NOT VERIFIED: there is no checkpoint signed by this key";
  return "VERIFIED: the log is what was signed";
}

/** The verdict for a program. */
export function verdictJson({ newest, ...verdict }: Verdict): string {
  const isVerified = verdict.faults.length === 0 && newest !== undefined;
  return JSON.stringify({
    isVerified,
    ...verdict,
    newest: newest && { ...newest, root: newest.root.toString("base64") },
  });
}
