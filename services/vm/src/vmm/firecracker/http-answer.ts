import { vmmFail } from "../port.ts";

export const maxHeaderBytes = 8 * 1024;
export const maxBodyBytes = 256 * 1024;
const maxHeaders = 32;

export interface HttpAnswer {
  readonly status: number;
  readonly body: Buffer;
}

/** Takes the bytes of one answer as they come. Both functions of it throw INVALID_ANSWER; nothing more may be asked of the connection then. */
export interface AnswerReader {
  /** Returns the answer once it is complete. Bytes behind it are an error: nobody asked for them. */
  read(chunk: Buffer): HttpAnswer | undefined;
}

const malformed = (what: string) => vmmFail("INVALID_ANSWER", `the VMM's answer is malformed: ${what}`);

/**
 * Reads one HTTP/1.1 answer of a peer that is not trusted, within `maxHeaderBytes` and `maxBodyBytes` whatever the size of the chunks. Only
 * what Firecracker sends is understood: a body has a Content-Length, and an answer without one has no body.
 */
export function openAnswerReader(): AnswerReader {
  const header = Buffer.allocUnsafe(maxHeaderBytes);
  let headerBytes = 0;
  let head: { status: number; body: Buffer } | undefined;
  let bodyBytes = 0;

  const readHeader = (chunk: Buffer): Buffer | undefined => {
    const from = Math.max(0, headerBytes - 3);
    const copied = chunk.copy(header, headerBytes);
    headerBytes += copied;
    const end = header.subarray(0, headerBytes).indexOf("\r\n\r\n", from, "latin1");
    if (end < 0) {
      if (headerBytes === maxHeaderBytes) throw malformed("its headers are too long");
      return undefined;
    }
    const { status, contentLength } = parseHead(header.toString("latin1", 0, end));
    head = { status, body: Buffer.allocUnsafe(contentLength) };
    const consumed = copied - (headerBytes - (end + 4));
    return chunk.subarray(consumed);
  };

  return {
    read(chunk) {
      const rest = head === undefined ? readHeader(chunk) : chunk;
      if (head === undefined || rest === undefined) return undefined;
      const { status, body } = head;
      if (rest.length > body.length - bodyBytes) throw malformed("bytes follow it");
      bodyBytes += rest.copy(body, bodyBytes);
      return bodyBytes === body.length ? { status, body } : undefined;
    },
  };
}

function parseHead(text: string): { status: number; contentLength: number } {
  const [statusLine = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.1 ([1-5][0-9]{2})(?: [\x20-\x7e]*)?$/.exec(statusLine)?.[1];
  if (status === undefined) throw malformed("no status line");
  if (lines.length > maxHeaders) throw malformed("too many headers");
  let contentLength: number | undefined;
  for (const line of lines) {
    const [, name, value = ""] = /^([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]*)$/.exec(line) ?? [];
    if (name === undefined) throw malformed("no header");
    switch (name.toLowerCase()) {
      case "transfer-encoding":
      case "content-encoding":
        throw malformed("its body is encoded");
      case "content-length":
        if (contentLength !== undefined) throw malformed("two lengths");
        contentLength = parseLength(value);
    }
  }
  if (status === "204" && (contentLength ?? 0) > 0) throw malformed("a body where there is none");
  return { status: Number(status), contentLength: contentLength ?? 0 };
}

function parseLength(value: string): number {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(value)) throw malformed("no length");
  if (Number(value) > maxBodyBytes) throw malformed(`its body is longer than ${maxBodyBytes} bytes`);
  return Number(value);
}
