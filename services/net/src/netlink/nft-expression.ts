import { attribute, attributesByType, decodeAttributes, nested } from "./message.ts";
import { big32, big64, readBig32, readBig64, readText, zeroTerminated } from "./values.ts";

/** Lets through what stays within the rate: `limit rate 1000/second burst 100 packets`. */
export interface Limit {
  /** Packets per second. */
  readonly ratePerSecond: number;
  /** Packets. */
  readonly burst: number;
}

export interface Counter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** What is attached to an element or stands in a rule, as far as it is understood here. */
export interface Expressions {
  readonly limit?: Limit;
  readonly counter?: Counter;
  /** Names of all others, among them limits of bytes, over a limit, or per another time than a second. */
  readonly others: readonly string[];
}

const expressionName = 1;
const expressionData = 2;
const listElement = 1;
const limitRate = 1;
const limitUnit = 2;
const limitBurst = 3;
const limitType = 4;
const limitFlags = 5;
const counterBytes = 1;
const counterPackets = 2;
const maxUint32 = 0xffffffff;

/** The value of NFTA_SET_ELEM_EXPR. Throws `RangeError` unless the rate is a positive integer and the burst one or zero. */
export function encodeLimit(type: number, { ratePerSecond, burst }: Limit): Buffer {
  if (!Number.isSafeInteger(ratePerSecond) || ratePerSecond < 1) throw new RangeError(`not a rate: ${ratePerSecond}`);
  if (!Number.isInteger(burst) || burst < 0 || burst > maxUint32) throw new RangeError(`not a burst: ${burst}`);
  return nested(
    type,
    attribute(expressionName, zeroTerminated("limit")),
    nested(
      expressionData,
      attribute(limitRate, big64(BigInt(ratePerSecond))),
      attribute(limitUnit, big64(1n)),
      attribute(limitBurst, big32(burst)),
      attribute(limitType, big32(0)),
      attribute(limitFlags, big32(0)),
    ),
  );
}

/** A list of expressions: the value of NFTA_SET_ELEM_EXPRESSIONS or NFTA_RULE_EXPRESSIONS. */
export function decodeExpressionList(bytes: Buffer): Expressions {
  return decodeExpressions(
    decodeAttributes(bytes)
      .filter(({ type }) => type === listElement)
      .map(({ payload }) => payload),
  );
}

/** `expressions`: the value of each. Of two counters the first counts. */
export function decodeExpressions(expressions: readonly Buffer[]): Expressions {
  let limit: Limit | undefined;
  let counter: Counter | undefined;
  const others: string[] = [];
  for (const bytes of expressions) {
    const attributes = attributesByType(bytes);
    const name = readText(attributes.get(expressionName));
    const data = attributesByType(attributes.get(expressionData) ?? Buffer.alloc(0));
    const packetLimit = name === "limit" ? decodeLimit(data) : undefined;
    if (packetLimit !== undefined && limit === undefined) limit = packetLimit;
    else if (name === "counter" && counter === undefined) counter = decodeCounter(data);
    else others.push(name);
  }
  return { ...(limit === undefined ? {} : { limit }), ...(counter === undefined ? {} : { counter }), others };
}

function decodeLimit(data: ReadonlyMap<number, Buffer>): Limit | undefined {
  const flags = data.get(limitFlags);
  const isPlain = readBig32(data.get(limitType)) === 0 && (flags === undefined || (readBig32(flags) & 1) === 0);
  if (!isPlain || readBig64(data.get(limitUnit)) !== 1n) return undefined;
  return { ratePerSecond: Number(readBig64(data.get(limitRate))), burst: readBig32(data.get(limitBurst)) };
}

function decodeCounter(data: ReadonlyMap<number, Buffer>): Counter {
  return { packets: readBig64(data.get(counterPackets)), bytes: readBig64(data.get(counterBytes)) };
}
