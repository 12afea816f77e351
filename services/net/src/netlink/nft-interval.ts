import { MalformedMessage } from "./message.ts";
import type { HeldElement, ListedElement } from "./nft-element.ts";
import { decodeKey, encodeKey, type Key } from "./nft-key.ts";

/**
 * Elements of a set with `flags interval` as closed ranges. With several fields the kernel holds them so already; with one
 * field it holds the beginning of each range and the key behind its end, as elements of their own. The result is
 * sorted by key in the second case.
 */
export function closedRanges(held: readonly HeldElement[]): ListedElement[] {
  if (held.some(({ key }) => key.length > 1)) return held.map(({ isIntervalEnd: _, ...element }) => withEnd(element));
  const marks = held
    .map((element) => ({ element, at: Buffer.from(encodeKey(element.key)) }))
    // Where one range ends at the beginning of the next, either mark closes the first.
    .sort((a, b) => Buffer.compare(a.at, b.at) || Number(b.element.isIntervalEnd) - Number(a.element.isIntervalEnd));
  const ranges: ListedElement[] = [];
  for (const [index, { element, at }] of marks.entries()) {
    const { isIntervalEnd, ...start } = element;
    if (isIntervalEnd) continue;
    const behind = marks[index + 1]?.at;
    ranges.push({ ...start, keyEnd: keyBefore(behind ?? Buffer.alloc(at.length), element.key) });
  }
  return ranges;
}

function withEnd(element: ListedElement): ListedElement {
  return { ...element, keyEnd: element.keyEnd ?? element.key };
}

// The key before zero is the last one: a range that reaches to the end has nothing behind it.
function keyBefore(behind: Buffer, like: Key): Key {
  const bits = 8 * behind.length;
  if (bits === 0) throw new MalformedMessage("a range without a key");
  const before = BigInt.asUintN(bits, BigInt(`0x${behind.toString("hex")}`) - 1n);
  const bytes = Buffer.from(before.toString(16).padStart(2 * behind.length, "0"), "hex");
  return decodeKey(
    bytes,
    like.map(({ type }) => type),
  );
}
