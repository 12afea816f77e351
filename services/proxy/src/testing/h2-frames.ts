/**
 * HTTP/2 by hand (RFC 9113), for requests that no client library would encode: one connection with one request on stream 1, its
 * fields as literals without indexing (RFC 7541 section 6.2.2).
 */

const frameType = { data: 0, headers: 1, settings: 4, goAway: 7 } as const;
const flag = { endStream: 1, endHeaders: 4 } as const;
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export type H2Field = readonly [name: string, value: string];

/** Bytes of a whole connection: preface, one request with `body`, and a GOAWAY. */
export function h2Request(fields: readonly H2Field[], body = ""): Buffer {
  const headers = Buffer.concat(fields.map(literal));
  const endsHere = body === "" ? flag.endStream : 0;
  return Buffer.concat([
    Buffer.from(preface),
    frame(frameType.settings, 0, 0, Buffer.alloc(0)),
    frame(frameType.headers, flag.endHeaders | endsHere, 1, headers),
    ...(body === "" ? [] : [frame(frameType.data, flag.endStream, 1, Buffer.from(body))]),
    // Last stream 0, no error: the front closes once it has answered.
    frame(frameType.goAway, 0, 0, Buffer.alloc(8)),
  ]);
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function literal([name, value]: H2Field): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

/** A string without Huffman coding; its length as an integer with a prefix of 7 bits. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length >= 127 + 128) throw new RangeError("longer than this encoder can say");
  const length = bytes.length < 127 ? [bytes.length] : [127, bytes.length - 127];
  return Buffer.concat([Buffer.from(length), bytes]);
}
