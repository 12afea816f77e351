import { attribute, attributesByType, decodeAttributes, nested } from "./message.ts";
import {
  type Counter,
  decodeExpressionList,
  decodeExpressions,
  type Expressions,
  encodeLimit,
  type Limit,
} from "./nft-expression.ts";
import { decodeKey, encodeKey, type Key, type KeyType } from "./nft-key.ts";
import { readBig32, zeroTerminated } from "./values.ts";

/** An element as it is wanted. What the set declares, such as `counter`, the kernel attaches by itself. */
export interface SetElement {
  readonly set: string;
  readonly key: Key;
  /**
   * In a set with `flags interval` and more than one field: the last key of the range, field by field. Needed there even
   * where it equals `key`: without it nft 1.0.6 lists the set wrongly, though the kernel understands it.
   */
  readonly keyEnd?: Key;
  /** In place of the limit that the set declares. */
  readonly limit?: Limit;
}

/** Which element: by key alone. */
export type ElementName = Pick<SetElement, "set" | "key" | "keyEnd">;

/** An element that is there. */
export interface ListedElement {
  readonly key: Key;
  /** In a set with `flags interval`, always: the last key of the range, field by field. */
  readonly keyEnd?: Key;
  readonly limit?: Limit;
  readonly counter?: Counter;
  /** Names of what else is attached to it and not understood here. */
  readonly others: readonly string[];
}

/** An element as the kernel holds it. */
export interface HeldElement extends ListedElement {
  /** In a set with `flags interval` and one field: nothing but the first key behind a range. */
  readonly isIntervalEnd: boolean;
}

const listTable = 1;
const listSet = 2;
const listElements = 3;
const listElement = 1;
const elementKey = 1;
const elementFlags = 3;
const elementTimeout = 4;
const elementExpression = 7;
const elementKeyEnd = 10;
const elementExpressions = 11;
const dataValue = 1;
const flagIntervalEnd = 1;

/** Attributes of NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM and NFT_MSG_GETSETELEM with elements of one set, at least one. */
export function encodeElements(table: string, elements: readonly SetElement[]): Buffer {
  const set = elements[0]?.set;
  if (set === undefined) throw new RangeError("no element");
  return Buffer.concat([encodeSetName(table, set), nested(listElements, ...elements.map(encodeElement))]);
}

function encodeElement({ key, keyEnd, limit }: SetElement): Buffer {
  const parts = [nested(elementKey, attribute(dataValue, encodeKey(key)))];
  if (keyEnd !== undefined) parts.push(nested(elementKeyEnd, attribute(dataValue, encodeKey(keyEnd))));
  if (limit !== undefined) parts.push(encodeLimit(elementExpression, limit));
  return nested(listElement, ...parts);
}

/** Attributes that name a set. */
export function encodeSetName(table: string, set: string): Buffer {
  return Buffer.concat([attribute(listTable, zeroTerminated(table)), attribute(listSet, zeroTerminated(set))]);
}

/** The elements of one NFT_MSG_NEWSETELEM. `types`: of the set's key. */
export function decodeElements(attributes: Buffer, types: readonly KeyType[]): HeldElement[] {
  const list = attributesByType(attributes).get(listElements) ?? Buffer.alloc(0);
  return decodeAttributes(list)
    .filter(({ type }) => type === listElement)
    .map(({ payload }) => decodeElement(payload, types));
}

function decodeElement(bytes: Buffer, types: readonly KeyType[]): HeldElement {
  const attributes = attributesByType(bytes);
  const key = dataOf(attributes.get(elementKey));
  const end = dataOf(attributes.get(elementKeyEnd));
  const flags = attributes.get(elementFlags);
  const attached = decodeAttached(attributes);
  return {
    // The kernel lists the element for all other keys without one.
    key: key === undefined ? [] : decodeKey(key, types),
    ...(end === undefined ? {} : { keyEnd: decodeKey(end, types) }),
    ...attached,
    others: attributes.has(elementTimeout) ? [...attached.others, "timeout"] : attached.others,
    isIntervalEnd: flags !== undefined && (readBig32(flags) & flagIntervalEnd) !== 0,
  };
}

function decodeAttached(attributes: ReadonlyMap<number, Buffer>): Expressions {
  const several = attributes.get(elementExpressions);
  if (several !== undefined) return decodeExpressionList(several);
  const one = attributes.get(elementExpression);
  return decodeExpressions(one === undefined ? [] : [one]);
}

function dataOf(data: Buffer | undefined): Buffer | undefined {
  return data === undefined ? undefined : attributesByType(data).get(dataValue);
}
