import { createSocket } from "node:dgram";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { answerQuery, type Lookup } from "./answer.ts";

export type Resolver = { readonly port: number; close(): Promise<void> };

/**
 * Answers DNS over UDP on 127.0.0.1 of the namespace this process runs in. Every datagram is answered at once from memory,
 * so nothing queues here; what the kernel's receive buffer cannot hold is dropped, and the asker asks again.
 * `port` 0 takes a free one. Throws if the port is taken.
 */
export async function startResolver(port: number, lookup: Lookup, logger: Logger): Promise<Resolver> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const answer = answerQuery(query, lookup);
    if (answer === undefined) return;
    socket.send(answer, from.port, from.address, (error) => {
      if (error !== null) logger.debug({ err: error }, "dns answer was not sent");
    });
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ port, address: "127.0.0.1", exclusive: true }, () => {
      socket.off("error", reject);
      resolve();
    });
  });
  // An asker that is gone shows up as ECONNREFUSED on the next receive; the socket itself goes on working.
  socket.on("error", (error) => logger.warn({ err: error }, "dns socket reported an error"));
  return {
    port: socket.address().port,
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}
