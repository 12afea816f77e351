import { afterHeader, attribute, attributesByType, MalformedMessage } from "./message.ts";
import { families, type NftFamily, nfgen, nfgenBytes } from "./nfnetlink.ts";
import { type Counter, decodeExpressionList } from "./nft-expression.ts";
import type { NetlinkSocket } from "./socket.ts";
import { readBig64, readText, zeroTerminated } from "./values.ts";

/** A rule, as far as it is told apart and counts. */
export interface ListedRule {
  readonly chain: string;
  /** The kernel's number of the rule, unique in its table. */
  readonly handle: bigint;
  readonly comment?: string;
  /** Of the first counter in the rule. */
  readonly counter?: Counter;
}

const getRule = (10 << 8) | 7;
const ruleTable = 1;
const ruleChain = 2;
const ruleHandle = 3;
const ruleExpressions = 4;
const ruleUserData = 7;
const commentType = 0;

/** The rules of a table in order, chain by chain; none if there is no such table. */
export function readRules(socket: NetlinkSocket, family: NftFamily, table: string): ListedRule[] {
  const payload = Buffer.concat([nfgen(families[family]), attribute(ruleTable, zeroTerminated(table))]);
  return socket.dump({ type: getRule, flags: 0, payload }).map((reply) => decodeRule(reply.payload));
}

/** `payload`: of one NFT_MSG_NEWRULE. */
export function decodeRule(payload: Buffer): ListedRule {
  const attributes = attributesByType(afterHeader(payload, nfgenBytes));
  const expressions = attributes.get(ruleExpressions);
  const counter = expressions === undefined ? undefined : decodeExpressionList(expressions).counter;
  const comment = decodeComment(attributes.get(ruleUserData) ?? Buffer.alloc(0));
  return {
    chain: readText(attributes.get(ruleChain)),
    handle: readBig64(attributes.get(ruleHandle)),
    ...(comment === undefined ? {} : { comment }),
    ...(counter === undefined ? {} : { counter }),
  };
}

// What nft leaves with a rule for itself: a type of one byte, a length of one byte, a value, and so on.
function decodeComment(notes: Buffer): string | undefined {
  for (let at = 0; at < notes.length; ) {
    if (notes.length - at < 2) throw new MalformedMessage("a note ends inside its header");
    const end = at + 2 + notes.readUInt8(at + 1);
    if (end > notes.length) throw new MalformedMessage("a note is longer than its rule's notes");
    if (notes.readUInt8(at) === commentType) return readText(notes.subarray(at + 2, end));
    at = end;
  }
  return undefined;
}
