import type { Socket } from "node:net";
import { z } from "zod";
import { replacements } from "./jail-attacks.ts";

const on = z.string();

/** What a stub is told to do wrong when it gets the request `on`, such as "PUT /drives/cfg". */
export const stubFaultSchema = z.discriminatedUnion("kind", [
  z.strictObject({ on, kind: z.literal("refuse"), message: z.string() }),
  z.strictObject({ on, kind: z.literal("hang") }),
  /** Its process ends. */
  z.strictObject({ on, kind: z.literal("die") }),
  z.strictObject({ on, kind: z.literal("cut-off") }),
  /** A body of 1 GiB, announced. */
  z.strictObject({ on, kind: z.literal("gigabyte") }),
  /** A small body is announced, and it never stops sending. */
  z.strictObject({ on, kind: z.literal("endless") }),
  z.strictObject({ on, kind: z.literal("endless-headers") }),
  z.strictObject({ on, kind: z.literal("drip") }),
  z.strictObject({ on, kind: z.literal("raw"), bytes: z.string() }),
  z.strictObject({ on, kind: z.literal("answer"), status: z.int(), body: z.unknown() }),
  /** Its answer with these fields changed. */
  z.strictObject({ on, kind: z.literal("lie"), changes: z.unknown() }),
  /** Replaces a file of its directory first, then answers as if nothing had happened. */
  z.strictObject({
    on,
    kind: z.literal("attack"),
    attack: z.strictObject({ kind: z.enum(replacements), file: z.string(), target: z.string() }),
  }),
]);

export type StubFault = z.infer<typeof stubFaultSchema>;

const zeros = Buffer.alloc(64 * 1024);

/** Sends what is wrong instead of an answer, until the other side has enough. */
export function misbehave(socket: Socket, fault: StubFault): void {
  switch (fault.kind) {
    case "cut-off":
      return void socket.end("HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{");
    case "raw":
      return void socket.write(Buffer.from(fault.bytes, "latin1"));
    case "gigabyte":
      socket.write(`HTTP/1.1 200 \r\nContent-Length: ${2 ** 30}\r\n\r\n`);
      return void flood(socket, zeros, 2 ** 30);
    case "endless":
      socket.write("HTTP/1.1 200 \r\nContent-Length: 100000\r\n\r\n");
      return void flood(socket, zeros, Number.POSITIVE_INFINITY);
    case "endless-headers":
      socket.write("HTTP/1.1 200 \r\n");
      return void flood(socket, Buffer.from("A: b\r\n".repeat(4096)), Number.POSITIVE_INFINITY);
    case "drip": {
      socket.write("HTTP/1.1 200 \r\nContent-Length: 100000\r\n\r\n");
      const timer = setInterval(() => socket.write(" "), 10);
      socket.once("close", () => clearInterval(timer));
    }
  }
}

function flood(socket: Socket, chunk: Buffer, bytes: number): void {
  let left = bytes;
  const more = () => {
    while (left > 0 && !socket.destroyed) {
      left -= chunk.length;
      if (!socket.write(chunk)) return void socket.once("drain", more);
    }
  };
  more();
}
