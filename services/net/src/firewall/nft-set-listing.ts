import { z } from "zod";
import type { ListedElement } from "../netlink/nft-element.ts";
import type { Counter, Limit } from "../netlink/nft-expression.ts";
import { type Key, type KeyPart, type KeyType, keyTypes } from "../netlink/nft-key.ts";
import { ipv4OfNumber, numberOfIpv4 } from "../netlink/values.ts";

const typeName = z.enum(keyTypes);
const fieldSchema = z.union([
  z.string(),
  z.number(),
  z.object({ prefix: z.object({ addr: z.string(), len: z.number() }) }),
  z.object({ range: z.tuple([z.union([z.string(), z.number()]), z.union([z.string(), z.number()])]) }),
]);
const valueSchema = z.union([fieldSchema, z.object({ concat: z.array(fieldSchema) })]);
const limitSchema = z.strictObject({ rate: z.number(), burst: z.number(), per: z.literal("second") });
const counterSchema = z.object({ packets: z.number(), bytes: z.number() });
const elementSchema = z.union([
  z.object({ elem: z.looseObject({ val: valueSchema }) }).transform(({ elem }) => elem),
  valueSchema.transform((val): { val: z.infer<typeof valueSchema>; [attached: string]: unknown } => ({ val })),
]);
const setSchema = z.object({
  type: z.union([typeName.transform((type) => [type]), z.array(typeName)]),
  flags: z.array(z.string()).default([]),
  elem: z.array(elementSchema).default([]),
});
const listingSchema = z.object({ nftables: z.array(z.looseObject({ set: setSchema.optional() })) });

type Field = z.infer<typeof fieldSchema>;

/** What is written beside an element and says nothing about it, or is said elsewhere. */
const ignored = new Set(["val", "limit", "counter", "expires", "comment"]);

/** The elements in the output of `nft -n -j list set`. Throws on what it does not understand. */
export function readSetListing(text: string): ListedElement[] {
  const { nftables } = listingSchema.parse(JSON.parse(text));
  const set = nftables.find((entry) => entry.set !== undefined)?.set;
  if (set === undefined) throw new Error("nft listed no set");
  const isInterval = set.flags.includes("interval");
  return set.elem.map(({ val, ...attached }) => {
    const fields = typeof val === "object" && "concat" in val ? val.concat : [val];
    if (fields.length !== set.type.length) throw new Error(`nft listed ${fields.length} fields of a key`);
    const ranges = set.type.map((type, index) => rangeOf(type, fields[index] ?? ""));
    const key: Key = ranges.map(([first]) => first);
    const keyEnd: Key = ranges.map(([, last]) => last);
    return { key, ...(isInterval ? { keyEnd } : {}), ...attachedOf(attached) };
  });
}

function attachedOf(attached: Readonly<Record<string, unknown>>): Omit<ListedElement, "key" | "keyEnd"> {
  const others = Object.keys(attached).filter((name) => !ignored.has(name));
  const limit = limitSchema.safeParse(attached["limit"]);
  if ("limit" in attached && !limit.success) others.push("limit");
  return {
    ...(limit.success ? { limit: asLimit(limit.data) } : {}),
    ...("counter" in attached ? { counter: asCounter(attached["counter"]) } : {}),
    others,
  };
}

function asLimit({ rate, burst }: z.infer<typeof limitSchema>): Limit {
  return { ratePerSecond: rate, burst };
}

function asCounter(listed: unknown): Counter {
  const { packets, bytes } = counterSchema.parse(listed);
  return { packets: BigInt(packets), bytes: BigInt(bytes) };
}

function rangeOf(type: KeyType, field: Field): [KeyPart, KeyPart] {
  if (typeof field !== "object") return [partOf(type, field), partOf(type, field)];
  if ("range" in field) return [partOf(type, field.range[0]), partOf(type, field.range[1])];
  const { addr, len } = field.prefix;
  const first = numberOfIpv4(addr);
  return [partOf(type, addr), partOf(type, ipv4OfNumber(first + 2 ** (32 - len) - 1))];
}

function partOf(type: KeyType, value: string | number): KeyPart {
  switch (type) {
    case "ifname":
    case "ether_addr":
    case "ipv4_addr":
      return { type, value: z.string().parse(value) };
    case "mark":
    case "inet_proto":
    case "inet_service":
      return { type, value: z.number().parse(value) };
  }
}
