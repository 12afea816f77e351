import type { Duplex } from "node:stream";
import { vmmFail } from "../port.ts";
import { type AnswerReader, type HttpAnswer, openAnswerReader } from "./http-answer.ts";

/** Calls that may wait for the one under way; a caller beyond them has gone wrong. */
const maxWaiting = 16;

export interface HttpRequest {
  readonly method: "GET" | "PUT" | "PATCH";
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** From the first byte sent to the last one received; a call that waits for another's answer has not begun. */
  readonly deadlineMs: number;
}

/**
 * HTTP/1.1 over one connection that is kept, one call at a time. Any fault ends the connection, and every call after it fails: an answer
 * could otherwise be taken for that of another call.
 */
export interface HttpConnection {
  /** Errors: UNAVAILABLE (the connection ended), TIMED_OUT, INVALID_ANSWER. */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Whether a call is under way. */
  readonly busy: boolean;
  readonly closed: boolean;
  close(): void;
}

interface Exchange {
  readonly reader: AnswerReader;
  resolve(answer: HttpAnswer): void;
  reject(error: unknown): void;
}

export function openHttpConnection(stream: Duplex): HttpConnection {
  let exchange: Exchange | undefined;
  let fault: unknown;
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();

  const fail = (error: unknown) => {
    fault ??= error;
    stream.destroy();
    exchange?.reject(fault);
    exchange = undefined;
  };
  const receive = (chunk: Buffer) => {
    if (fault !== undefined) return;
    if (exchange === undefined) return fail(vmmFail("INVALID_ANSWER", "the VMM sent what nobody asked for"));
    try {
      const answer = exchange.reader.read(chunk);
      if (answer === undefined) return;
      exchange.resolve(answer);
      exchange = undefined;
    } catch (error) {
      fail(error);
    }
  };
  const ended = (cause?: unknown) => fail(vmmFail("UNAVAILABLE", "the VMM's API connection ended", { cause }));
  stream.on("data", receive).on("error", ended);
  for (const event of ["end", "close"]) stream.once(event, () => ended());
  // It may have ended while it was handed over; nothing would be told of it any more.
  if (stream.destroyed) ended();

  const begin = async (request: HttpRequest): Promise<HttpAnswer> => {
    if (fault !== undefined) throw fault;
    const name = `${request.method} ${request.path}`;
    const timer = setTimeout(
      () => fail(vmmFail("TIMED_OUT", `the VMM did not answer ${name} in time`)),
      request.deadlineMs,
    );
    try {
      return await new Promise<HttpAnswer>((resolve, reject) => {
        exchange = { reader: openAnswerReader(), resolve, reject };
        stream.write(requestBytes(request));
      });
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    async send(request) {
      if (waiting >= maxWaiting) throw vmmFail("UNAVAILABLE", "too many calls wait for the VMM");
      waiting += 1;
      const turn = last.then(() => begin(request));
      last = turn.catch(() => {});
      try {
        return await turn;
      } finally {
        waiting -= 1;
      }
    },
    get busy() {
      return waiting > 0;
    },
    get closed() {
      return fault !== undefined;
    },
    close: () => ended(),
  };
}

/** A request without a body has no Content-Length either: Firecracker refuses a GET that announces one. */
function requestBytes({ method, path, body }: HttpRequest): Buffer {
  const head = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n`;
  if (body === undefined) return Buffer.from(`${head}\r\n`);
  const json = JSON.stringify(body);
  return Buffer.from(
    `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`,
  );
}
