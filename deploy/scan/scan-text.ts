import { createHash } from "node:crypto";
import { entropyBits, rules, testPrefix } from "./rules.ts";

/** A credential in a text. The credential itself is in no field: a report that shows it would be one more copy. */
export interface Finding {
  readonly rule: string;
  /** SHA-256 of the credential in hexadecimal, by which a review allows it. */
  readonly sha256: string;
  /** From 1. */
  readonly line: number;
}

/** Every credential in `text`. */
export function scanText(text: string): Finding[] {
  const findings: Finding[] = [];
  for (const { name, pattern, minEntropyBits } of rules) {
    for (const match of text.matchAll(pattern)) {
      const credential = match[1] ?? match[0];
      if (credential.startsWith(testPrefix)) continue;
      if (minEntropyBits !== undefined && !looksRandom(credential, minEntropyBits)) continue;
      findings.push({ rule: name, sha256: digestOf(credential), line: lineOf(text, match.index) });
    }
  }
  return findings;
}

/** Names and paths are long too, but made of words: they have no digits among their letters. */
function looksRandom(text: string, minEntropyBits: number): boolean {
  return /[0-9]/.test(text) && /[A-Za-z]/.test(text) && entropyBits(text) >= minEntropyBits;
}

export function digestOf(credential: string): string {
  return createHash("sha256").update(credential).digest("hex");
}

function lineOf(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < index; at = text.indexOf("\n", at + 1)) line += 1;
  return line;
}
