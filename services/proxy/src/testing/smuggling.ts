/**
 * Requests that two parsers may read differently. Each is sent to `own` in a connection of its own, and carries a second request for
 * `other` (path `/told-smuggled`) where a parser that disagrees with Caddy's would find it.
 */

import { type H2Field, h2Request } from "./h2-frames.ts";

export type Attack = { readonly what: string; readonly protocol: "http/1.1" | "h2"; readonly bytes: Buffer };

export function smugglingCorpus(own: string, other: string): Attack[] {
  return [...framing(own, other), ...syntax(own, other), ...http2(own, other)];
}

const smuggled = (other: string): string => `GET /told-smuggled HTTP/1.1\r\nHost: ${other}\r\n\r\n`;

function http1(what: string, text: string): Attack {
  return { what, protocol: "http/1.1", bytes: Buffer.from(text, "latin1") };
}

/** Where a body ends. */
function framing(own: string, other: string): Attack[] {
  const second = smuggled(other);
  const head = (...lines: string[]): string => `${["POST / HTTP/1.1", `Host: ${own}`, ...lines].join("\r\n")}\r\n\r\n`;
  const length = `Content-Length: ${second.length + 5}`;
  const chunked = `0\r\n\r\n${second}`;
  const rows: Readonly<Record<string, readonly string[]>> = {
    "a length and chunks": [length, "Transfer-Encoding: chunked"],
    "chunks and a length": ["Transfer-Encoding: chunked", length],
    "a short length and chunks": ["Content-Length: 4", "Transfer-Encoding: chunked"],
    "an unknown encoding": [length, "Transfer-Encoding: xchunked"],
    "two encodings, the last unknown": [length, "Transfer-Encoding: chunked", "Transfer-Encoding: x"],
    "chunked, then identity": [length, "Transfer-Encoding: chunked, identity"],
    "a space before the colon": [length, "Transfer-Encoding : chunked"],
    "a tab after the colon": [length, "Transfer-Encoding:\tchunked"],
    "a vertical tab in the value": [length, "Transfer-Encoding: \u000bchunked"],
    "a folded value": [length, "Transfer-Encoding:\r\n chunked"],
    "a header hidden behind a bare line feed": [length, "X: y\nTransfer-Encoding: chunked"],
    "a header hidden behind a bare carriage return": [length, "X: y\rTransfer-Encoding: chunked"],
    "upper case": [length, "TRANSFER-ENCODING: CHUNKED"],
    "two lengths": ["Content-Length: 5", length],
    "two lengths in one": [`Content-Length: 5, ${second.length + 5}`],
    "a length with a sign": [`Content-Length: +5`],
    "a negative length": ["Content-Length: -1"],
    "a length in hexadecimal": ["Content-Length: 0x5"],
    "a length with a blank in it": ["Content-Length: 5 0"],
    "a length that Connection names": ["Content-Length: 5", "Connection: Content-Length"],
    "an encoding that Connection names": ["Transfer-Encoding: chunked", "Connection: Transfer-Encoding"],
    "HTTP/1.1 without either": [],
    "a length that expects 100": ["Content-Length: 5", "Expect: 100-continue"],
  };
  return [
    ...Object.entries(rows).map(([what, lines]) => http1(`body: ${what}`, `${head(...lines)}${chunked}`)),
    ...Object.entries({
      "a size that overflows": `ffffffffffffffff1\r\n${chunked}`,
      "a size with a sign": `+0\r\n\r\n${second}`,
      "an extension with a line feed": `0;a=\n${second}\r\n\r\n`,
      "a bare line feed after the size": `0\n\n${second}`,
      "a trailer that is a header": `0\r\nContent-Length: 5\r\nHost: ${other}\r\n\r\n${second}`,
    }).map(([what, body]) => http1(`chunk: ${what}`, `${head("Transfer-Encoding: chunked")}${body}`)),
    http1(
      "HTTP/1.0 with chunks",
      `POST / HTTP/1.0\r\nHost: ${own}\r\nTransfer-Encoding: chunked\r\n${length}\r\n\r\n${chunked}`,
    ),
    http1("HTTP/0.9", `GET /\r\n${second}`),
  ];
}

/** What a request is for. */
function syntax(own: string, other: string): Attack[] {
  const second = smuggled(other);
  const get = (target: string, ...lines: string[]): string =>
    `${[`GET ${target} HTTP/1.1`, ...lines].join("\r\n")}\r\n\r\n`;
  const upgrade = (protocol: string): string =>
    get(
      "/",
      `Host: ${own}`,
      "Connection: Upgrade, HTTP2-Settings",
      `Upgrade: ${protocol}`,
      "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    );
  return [
    http1("two hosts", get("/told-smuggled", `Host: ${own}`, `Host: ${other}`)),
    http1("two hosts, the other first", get("/told-smuggled", `Host: ${other}`, `Host: ${own}`)),
    http1("no host", get("/told-smuggled")),
    http1("two names in one host", get("/told-smuggled", `Host: ${own},${other}`)),
    http1("a host with a path", get("/told-smuggled", `Host: ${own}/${other}`)),
    http1("a host with a user", get("/told-smuggled", `Host: ${own}@${other}`)),
    http1("an absolute target of another", get(`https://${other}/told-smuggled`, `Host: ${own}`)),
    http1("an absolute target with a user", get(`https://${own}@${other}/told-smuggled`, `Host: ${own}`)),
    http1("a target with a host in its path", get(`//${other}/told-smuggled@${other}`, `Host: ${other}`)),
    http1("a target with a blank", get("/ /told-smuggled", `Host: ${other}`)),
    http1("a tab for a blank", `GET\t/told-smuggled HTTP/1.1\r\nHost: ${own}\r\n\r\n`),
    http1("a blank in front of a header", get("/told-smuggled", ` Host: ${own}`, `Host: ${other}`)),
    http1("a NUL in a header", get("/told-smuggled", `Host: ${own}`, "X: a\0b")),
    http1("a pipelined request of another", `${get("/", `Host: ${own}`)}${second}`),
    http1(
      "a WebSocket of another",
      get("/told-smuggled", `Host: ${other}`, "Connection: Upgrade", "Upgrade: websocket"),
    ),
    http1("an upgrade to h2c, then a request of another", `${upgrade("h2c")}${second}`),
    http1("an upgrade to something, then a request of another", `${upgrade("x")}${second}`),
    http1("an upgrade to WebSocket or h2c, then a request of another", `${upgrade("websocket, h2c")}${second}`),
    http1("HTTP/2 where HTTP/1.1 was agreed", h2Request(pseudo(other)).toString("latin1")),
    http1("CONNECT to another", `CONNECT ${other}:443 HTTP/1.1\r\nHost: ${own}\r\n\r\n${second}`),
    http1("CONNECT to itself", `CONNECT ${own}:443 HTTP/1.1\r\nHost: ${own}\r\n\r\n${second}`),
  ];
}

function pseudo(authority: string, path = "/told-smuggled", method = "GET"): H2Field[] {
  return [
    [":method", method],
    [":scheme", "https"],
    [":authority", authority],
    [":path", path],
  ];
}

/** HTTP/2 in front, HTTP/1.1 to the guest: what must not become a line of the other. */
function http2(own: string, other: string): Attack[] {
  const second = smuggled(other);
  const post = pseudo(own, "/", "POST");
  const inject = `x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${second}`;
  const h2 = (what: string, fields: readonly H2Field[], body = ""): Attack => ({
    what: `HTTP/2: ${what}`,
    protocol: "h2",
    bytes: h2Request(fields, body),
  });
  return [
    h2("chunks", [...post, ["transfer-encoding", "chunked"]], `0\r\n\r\n${second}`),
    h2("a length of nothing and a body", [...post, ["content-length", "0"]], second),
    h2("a length that is too long", [...post, ["content-length", "9999"]], second),
    h2("lines in a value", [...post, ["x", inject]], second),
    h2("lines in a name", [...post, [`x: y\r\ntransfer-encoding`, "chunked"]], second),
    h2("a colon in a name", [...post, ["host: x", other]], second),
    h2("lines in the path", pseudo(own, `/ HTTP/1.1\r\nHost: ${other}\r\n\r\n${second}`)),
    h2("lines in the method", pseudo(own, "/", `GET / HTTP/1.1\r\nHost: ${other}\r\n\r\nGET`)),
    h2("lines in the authority", pseudo(`${own}\r\nHost: ${other}`)),
    h2("an authority of another", pseudo(other)),
    h2("a host of another beside the authority", [...pseudo(own, "/"), ["host", other]]),
    h2("a host of another and no authority", [
      ...pseudo(own).filter(([name]) => name !== ":authority"),
      ["host", other],
    ]),
    h2("two authorities", [...pseudo(own), [":authority", other]]),
    h2("a path that is absolute", pseudo(own, `https://${other}/told-smuggled`)),
    h2("a path without a slash", pseudo(own, `told-smuggled`)),
    h2("an upgrade", [...pseudo(own), ["connection", "upgrade"], ["upgrade", "h2c"]]),
    h2("CONNECT with a protocol", [...pseudo(own, "/told-smuggled", "CONNECT"), [":protocol", "websocket"]]),
  ];
}
