/** IPv4 addresses as numbers from 0 to 2^32 - 1. */
export interface AddressRange {
  readonly first: number;
  readonly last: number;
}

/**
 * NET-02: private, shared, link-local, documentation, benchmark, multicast and reserved ranges, and a cloud's platform
 * address. No policy opens them.
 */
export const deniedRanges = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
] as const;

const denied = deniedRanges.map(parseRange);

/** Whether every address of `range` is denied, so that a rule for it could never match. */
export function isDenied(range: AddressRange): boolean {
  return denied.some(({ first, last }) => first <= range.first && range.last <= last);
}

/** Range of `192.0.2.0/24` or `192.0.2.1`. Throws `RangeError` on anything else, such as a prefix with host bits. */
export function parseRange(text: string): AddressRange {
  const match = /^(\d{1,3}(?:\.\d{1,3}){3})(?:\/(\d{1,2}))?$/.exec(text);
  const octets = (match?.[1] ?? "").split(".").map(Number);
  const bits = Number(match?.[2] ?? 32);
  if (match === null || octets.some((octet) => octet > 255) || bits > 32)
    throw new RangeError(`${text} is no IPv4 range`);
  const first = octets.reduce((sum, octet) => sum * 256 + octet, 0);
  const size = 2 ** (32 - bits);
  if (first % size !== 0) throw new RangeError(`${text} has host bits`);
  return { first, last: first + size - 1 };
}

export function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

/** The same addresses in the fewest ranges, ascending and disjoint. */
export function union(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: AddressRange[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous === undefined || first > previous.last + 1) merged.push({ first, last });
    else merged[merged.length - 1] = { first: previous.first, last: Math.max(previous.last, last) };
  }
  return merged;
}

/** The addresses of `ranges` that are in none of `removed`; ascending and disjoint. */
export function without(ranges: readonly AddressRange[], removed: readonly AddressRange[]): AddressRange[] {
  let rest = union(ranges);
  for (const hole of union(removed)) {
    rest = rest.flatMap(({ first, last }) => {
      if (hole.last < first || last < hole.first) return [{ first, last }];
      const below = first < hole.first ? [{ first, last: hole.first - 1 }] : [];
      const above = hole.last < last ? [{ first: hole.last + 1, last }] : [];
      return [...below, ...above];
    });
  }
  return rest;
}
