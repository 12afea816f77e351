import { randomBytes } from "node:crypto";

/** A random value that nothing but the code under test could have written anywhere. */
export function newCanary(): string {
  return `canary-${randomBytes(18).toString("base64url")}-end`;
}

/** The forms in which a leaked value could stand: raw, hexadecimal, base64 at each of three offsets, base64url, URL and JSON. */
export function encodings(value: string): Buffer[] {
  const bytes = Buffer.from(value);
  const offsets = [0, 1, 2].map((offset) => {
    // Inside a longer base64 text only whole groups of three bytes look the same; the edges are left out.
    const whole = bytes.subarray((3 - offset) % 3);
    return whole.subarray(0, whole.length - (whole.length % 3)).toString("base64");
  });
  const texts = [
    value,
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    ...offsets,
    ...offsets.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")),
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
    [...bytes].join(","),
  ];
  return [...new Set(texts)].map((text) => Buffer.from(text));
}

/** Which of `canaries` stand in `haystack` in any encoding, by index. */
export function findCanaries(haystack: Buffer, canaries: readonly string[]): number[] {
  return canaries.flatMap((canary, index) =>
    encodings(canary).some((form) => haystack.includes(form)) ? [index] : [],
  );
}
