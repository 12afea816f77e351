/**
 * What the resolver says, as a function of one datagram. Authoritative for `guest.internal` and for nothing else:
 *
 *  - A of a published tenant: its guest's address, TTL 0, so that a withdrawn or moved name is asked for again;
 *  - AAAA of a published tenant: no error, no records (guests have IPv4 only; Go's resolver asks for both);
 *  - A or AAAA of any other name directly under the zone: NXDOMAIN;
 *  - everything else: REFUSED.
 */

import { AUTHORITATIVE_ANSWER, type DecodedPacket, decode, encode, type Question } from "dns-packet";
import { guestZone, tenantPattern } from "../tenant-name.ts";

/** The outer IPv4 address of a published tenant's guest. */
export type Lookup = (tenant: string) => string | undefined;

// RFC 1035 4.2.1: a question fits 512 bytes; a longer datagram is not a question for a name of ours.
const maxQueryBytes = 512;
const headerBytes = 12;
const guestName = new RegExp(`^(${tenantPattern})\\.${guestZone.replaceAll(".", "\\.")}$`);

const responseCode = { noError: 0, formatError: 1, nameError: 3, notImplemented: 4, refused: 5 } as const;

/**
 * The answer to `query`, or `undefined` where silence is right: for what is too short to have an id, and for answers, since
 * answering those lets two servers echo each other for ever. Never throws.
 */
export function answerQuery(query: Uint8Array, lookup: Lookup): Uint8Array | undefined {
  if (query.length < headerBytes) return undefined;
  const isResponse = ((query[2] ?? 0) & 0x80) !== 0;
  if (isResponse) return undefined;
  if (((query[2] ?? 0) & 0x78) !== 0) return headerOnly(query, responseCode.notImplemented);
  const question = questionIn(query);
  if (question === undefined) return headerOnly(query, responseCode.formatError);

  const tenant = guestName.exec(question.name.toLowerCase())?.[1];
  const isAddress = question.type === "A" || question.type === "AAAA";
  if (tenant === undefined || !isAddress || question.class !== "IN")
    return reply(query, question, responseCode.refused);
  const address = lookup(tenant);
  if (address === undefined) return reply(query, question, responseCode.nameError);
  return reply(query, question, responseCode.noError, question.type === "A" ? address : undefined);
}

/** The one question of a query; `undefined` if there is not exactly one or the bytes are no DNS message. */
function questionIn(query: Uint8Array): Question | undefined {
  if (query.length > maxQueryBytes) return undefined;
  let packet: DecodedPacket;
  try {
    packet = decode(Buffer.from(query));
  } catch {
    // dns-packet reports every malformed message by throwing (RangeError, TypeError, Error); the asker gets FORMERR.
    return undefined;
  }
  const { questions } = packet;
  return questions?.length === 1 ? questions[0] : undefined;
}

function reply(query: Uint8Array, question: Question, code: number, address?: string): Uint8Array {
  const recursionDesired = (query[2] ?? 0) & 0x01;
  return encode({
    type: "response",
    id: idOf(query),
    // The low four bits of the flags are the response code; the high byte of the query's flags gives back RD.
    flags: AUTHORITATIVE_ANSWER | (recursionDesired << 8) | code,
    questions: [question],
    answers: address === undefined ? [] : [{ type: "A", name: question.name, ttl: 0, data: address }],
  });
}

function headerOnly(query: Uint8Array, code: number): Uint8Array {
  return encode({ type: "response", id: idOf(query), flags: code });
}

function idOf(query: Uint8Array): number {
  return ((query[0] ?? 0) << 8) | (query[1] ?? 0);
}
