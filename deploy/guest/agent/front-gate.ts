import { once } from "node:events";
import type { Server, Socket } from "node:net";

/**
 * When the gateway's port answers: once the workload is healthy, and not while the guest is being put to sleep. While it is held nothing
 * is accepted and no connection is left, so that a saved memory holds no key of one.
 */
export class FrontGate {
  readonly #server: Server;
  readonly #port: number;
  readonly #address: string;
  readonly #sockets = new Set<Socket>();
  #isReady = false;
  #isHeld = false;

  constructor(server: Server, port: number, address: string) {
    this.#server = server;
    this.#port = port;
    this.#address = address;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /** There is a workload to forward to. Resolves when the port answers, or at once while it is held. */
  async ready(): Promise<void> {
    this.#isReady = true;
    await this.#listenIfDue();
  }

  /** Accepts nothing more, lets requests under way end for `graceMs`, and cuts what is left, tunnels too. Safe to repeat. */
  async hold(graceMs: number): Promise<void> {
    this.#isHeld = true;
    if (this.#server.listening) this.#server.close();
    const limit = AbortSignal.timeout(graceMs);
    for (const socket of this.#sockets) {
      // The limit ends the wait; a socket that broke closes too.
      if (!limit.aborted) await once(socket, "close", { signal: limit }).catch(() => undefined);
    }
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Resolves when the port answers again. Safe to repeat. */
  async release(): Promise<void> {
    this.#isHeld = false;
    await this.#listenIfDue();
  }

  async #listenIfDue(): Promise<void> {
    if (!this.#isReady || this.#isHeld || this.#server.listening) return;
    this.#server.listen(this.#port, this.#address);
    await once(this.#server, "listening");
  }
}
