import { chmodSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import * as http2 from "node:http2";
import * as net from "node:net";
import { dirname } from "node:path";
import type { TLSSocket } from "node:tls";
import type { nodeListener } from "./adapter.ts";
import type { TlsCredential } from "./tls-credential.ts";

const maxHeaderBytes = 16 * 1024;
const maxConnections = 1024;
const probeLimitMs = 1000;

/** PEM files of one end of a TLS connection. */
export interface TlsFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly platformCaPath: string;
}

export type Address = { readonly unixPath: string } | { readonly host: string; readonly port: number };

/** One listening socket with its connections. */
export interface Listener {
  /** The TCP port in use; `undefined` for a Unix socket. */
  readonly port: number | undefined;
  /** Connections that begin from now on see this certificate and are verified with these authorities. */
  renew(credential: TlsCredential): void;
  /** Cuts each connection, with the calls on it, that `isOver` says so of. */
  cut(isOver: (socket: TLSSocket) => boolean): void;
  /** Stops accepting and tells every client to finish; resolves when the last connection is gone. */
  close(): Promise<void>;
  /** Cuts what is left. */
  destroy(): void;
}

/**
 * Listens with TLS 1.3 for HTTP/2 and HTTP/1.1. A client certificate is asked for, not demanded: TLS 1.3 would report its
 * absence after the handshake, as an alert that clients show as an internal error, so the request gate refuses instead.
 */
export async function listen(
  address: Address,
  credential: TlsCredential,
  handle: ReturnType<typeof nodeListener>,
): Promise<Listener> {
  const server = http2.createSecureServer(serverOptions(credential));
  server.maxConnections = maxConnections;
  server.on("request", handle);
  // A connection that breaks, or never speaks TLS, ends by itself; without a listener it would end the process.
  server.on("sessionError", () => undefined);
  const sessions = new Set<http2.ServerHttp2Session>();
  const sockets = new Set<net.Socket>();
  const secured = new Set<TLSSocket>();
  track(server, "session", sessions);
  track(server, "secureConnection", secured);
  track(server, "connection", sockets);

  if ("unixPath" in address) await bindUnix(server, address.unixPath);
  else await bind(server, () => server.listen(address.port, address.host));
  const bound = server.address();

  return {
    port: typeof bound === "object" && bound !== null ? bound.port : undefined,
    renew: (next) => server.setSecureContext(contextOptions(next)),
    cut(isOver) {
      for (const socket of secured) if (isOver(socket)) socket.destroy();
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      await closed;
    },
    destroy() {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** What a renewal has to say again: `setSecureContext` keeps nothing of the context before. */
function contextOptions({ cert, key, ca, clientsCa }: TlsCredential) {
  return { minVersion: "TLSv1.3", cert, key, ca: clientsCa === undefined ? ca : [ca, clientsCa] } as const;
}

function serverOptions(credential: TlsCredential): http2.SecureServerOptions {
  // For HTTP/1.1; Node's types leave it out of the options of an HTTP/2 server, which passes it on.
  const http1 = { maxHeaderSize: maxHeaderBytes };
  return {
    ...http1,
    allowHTTP1: true,
    ...contextOptions(credential),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: 10_000,
    settings: { maxConcurrentStreams: 100, maxHeaderListSize: maxHeaderBytes },
    maxSessionMemory: 16,
    unknownProtocolTimeout: 1000,
  };
}

async function bindUnix(server: http2.Http2SecureServer, path: string): Promise<void> {
  if (Buffer.byteLength(path) > 107) throw new RangeError(`${path} is too long for a Unix socket address`);
  mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
  await removeStale(path);
  await bind(server, () => {
    // The socket appears with the mode that the umask leaves; a later chmod alone would leave a moment for others.
    const previous = process.umask(0o117);
    try {
      server.listen(path);
    } finally {
      process.umask(previous);
    }
  });
  chmodSync(path, 0o660);
}

/** Removes the socket file of a server that was killed; throws EADDRINUSE if one still answers there. */
async function removeStale(path: string): Promise<void> {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) return;
  if (!entry.isSocket()) throw new Error(`${path} exists and is no socket`);
  if (await isServed(path)) {
    throw Object.assign(new Error(`another process serves ${path}`), { code: "EADDRINUSE" });
  }
  unlinkSync(path);
}

async function isServed(path: string): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const socket = net.connect(path);
    socket.setTimeout(probeLimitMs, () => socket.destroy(new Error(`no answer from ${path}`)));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      else reject(error);
    });
  });
}

async function bind(server: http2.Http2SecureServer, start: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    start();
  });
}

function track<T extends { once(event: "close", listener: () => void): unknown }>(
  server: http2.Http2SecureServer,
  event: "session" | "connection" | "secureConnection",
  members: Set<T>,
): void {
  server.on(event, (member: T) => {
    members.add(member);
    member.once("close", () => members.delete(member));
  });
}
