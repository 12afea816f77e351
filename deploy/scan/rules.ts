/** A kind of credential, and how it is recognised in text. */
export interface Rule {
  readonly name: string;
  /** Global. Its first group, or the whole match, is the credential. */
  readonly pattern: RegExp;
  /** Bits of entropy that a character of the credential has at least, for patterns that words can fit too. */
  readonly minEntropyBits?: number;
}

/** A value that begins like this is a test's, by agreement, and no service starts with one. */
export const testPrefix = "lobsterd-test-";

/** Values of known issuers have forms of their own; all others are recognised by what they are assigned to and how random they look. */
export const rules: readonly Rule[] = [
  {
    name: "private key",
    // With a line of its body: code that knows the words is no key.
    pattern: /-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY-----\s*(?:\\n)?([A-Za-z0-9+/=]{40,})/g,
  },
  { name: "age key", pattern: /\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b/g },
  { name: "AWS access key", pattern: /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/g },
  { name: "GitHub token", pattern: /\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b/g },
  { name: "GitLab token", pattern: /\bglpat-[A-Za-z0-9_-]{20,}/g },
  { name: "npm token", pattern: /\bnpm_[A-Za-z0-9]{36}\b/g },
  { name: "Slack token", pattern: /\bxox[abeoprs]-[A-Za-z0-9-]{20,}/g },
  { name: "Google API key", pattern: /\bAIza[A-Za-z0-9_-]{35}\b/g },
  { name: "Stripe key", pattern: /\b[rs]k_live_[A-Za-z0-9]{20,}/g },
  { name: "model provider key", pattern: /\bsk-[A-Za-z0-9_-]{20,}/g, minEntropyBits: 3.5 },
  { name: "Telegram bot token", pattern: /\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b/g },
  { name: "Vault token", pattern: /\bhv[bs]\.[A-Za-z0-9_-]{24,}/g },
  { name: "JSON web token", pattern: /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}/g },
  { name: "password in a URL", pattern: /\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s/:@"'`]{1,64}:([^\s/@"'`{}$<>]{6,128})@/g },
  {
    name: "assigned secret",
    pattern:
      /(?:api[_-]?key|secret|token|passw(?:or)?d|passphrase|credential|private[_-]?key|auth)["'\]]{0,2}\s{0,4}[:=]{1,2}>?\s{0,4}["'`]([A-Za-z0-9+/=_.~-]{16,512})["'`]/gi,
    minEntropyBits: 3.2,
  },
  {
    name: "assigned secret without quotes",
    pattern:
      /^[ \t]*(?:export )?[A-Z0-9_]*(?:API_?KEY|SECRET|TOKEN|PASSW(?:OR)?D)[A-Z0-9_]*=([A-Za-z0-9+/=_.~-]{16,512})\s*$/gm,
    minEntropyBits: 3.2,
  },
];

/** Bits of entropy of a character of `text`, by how often each occurs: 4 at most for hexadecimal, about 5 for 40 characters of base64. */
export function entropyBits(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}
