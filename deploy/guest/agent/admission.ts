import { createServer, type Socket, type Server as TcpServer } from "node:net";
import type { TLSSocket, Server as TlsServer } from "node:tls";
import { helloState } from "./client-hello.ts";
import { log } from "./log.ts";

/** How many connections a port holds: that have not said a TLS hello, that have not proved who they are, and that have. */
export type AdmissionLimits = {
  readonly silent: number;
  readonly unproved: number;
  readonly proved: number;
  /** From accepting to the proof. */
  readonly handshakeMs: number;
};

/**
 * Connections of one stage. When there are more than `limit` the oldest goes: whoever does not get on makes room for whoever comes.
 * A Map keeps insertion order, so the first one is the oldest.
 */
class Stage {
  readonly #sockets = new Map<string, Socket>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  enter(key: string, socket: Socket): void {
    this.#sockets.set(key, socket);
    for (const [oldest, waiting] of this.#sockets) {
      if (this.#sockets.size <= this.#limit) break;
      this.#sockets.delete(oldest);
      waiting.destroy();
    }
  }

  leave(key: string): void {
    this.#sockets.delete(key);
  }
}

/** A connection is known by its far end: TLS wraps the socket in another object. */
function farEnd(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

/**
 * A TCP server in front of `tls` that bounds its connections, so that callers who prove nothing cannot keep those out who do. The state
 * of a TLS connection is some hundred KiB, so none is made before the whole hello is there; a thousand silent sockets cost little.
 * `admit` is asked about each finished handshake; what it declines is cut without a byte of an answer.
 */
export function guardAdmission(
  tls: TlsServer,
  limits: AdmissionLimits,
  admit: (socket: TLSSocket) => boolean,
): TcpServer {
  const silent = new Stage(limits.silent);
  const unproved = new Stage(limits.unproved);
  const deadlines = new Map<string, NodeJS.Timeout>();
  let proved = 0;
  const server = createServer((socket) => {
    // Whoever dials from this guest's own address is in the guest: the workload, never the host.
    if (socket.remoteAddress === undefined || socket.remoteAddress === socket.localAddress) {
      socket.destroy();
      return;
    }
    const key = farEnd(socket);
    deadlines.set(
      key,
      setTimeout(() => socket.destroy(), limits.handshakeMs),
    );
    socket.once("close", () => {
      silent.leave(key);
      unproved.leave(key);
      clearTimeout(deadlines.get(key));
      deadlines.delete(key);
    });
    // Whatever breaks a connection is its far end's affair; without a listener it would end the process.
    socket.on("error", () => undefined);
    silent.enter(key, socket);
    awaitHello(socket, () => {
      silent.leave(key);
      unproved.enter(key, socket);
      tls.emit("connection", socket);
    });
  });
  tls.on("tlsClientError", (error) => log("handshake refused", { error: error.message.slice(0, 200) }));
  tls.on("secureConnection", (socket) => {
    const key = farEnd(socket);
    unproved.leave(key);
    clearTimeout(deadlines.get(key));
    socket.on("error", () => undefined);
    if (proved >= limits.proved || !admit(socket)) {
      socket.destroy();
      return;
    }
    proved += 1;
    socket.once("close", () => {
      proved -= 1;
    });
  });
  return server;
}

/** Calls `then` when the first TLS record is there, which stays in the socket to be read. Cuts what is not TLS. */
function awaitHello(socket: Socket, then: () => void): void {
  let seen = Buffer.alloc(0);
  const look = (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk]);
    const state = helloState(seen);
    if (state === "incomplete") return;
    socket.off("data", look);
    socket.pause();
    if (state === "not-tls") {
      socket.destroy();
      return;
    }
    socket.unshift(seen);
    then();
  };
  socket.on("data", look);
}
