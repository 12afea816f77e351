import type { Libc } from "./libc.ts";
import { type NetlinkSocket, openNetlink } from "./socket.ts";

/** A socket that is opened when it is first used, and stays open: closing one waits until what it deleted is freed, 15 ms or so. */
export interface KeptSocket extends Disposable {
  /** Runs `work` with the socket; one that closed itself, because an answer was lost, is opened anew. */
  use<T>(work: (socket: NetlinkSocket) => T): T;
}

/** `namespacePath`: file of the network namespace to act in, which an open socket keeps alive; without it, this process's own. */
export function keepSocket(libc: Libc, protocol: number, namespacePath?: string): KeptSocket {
  let socket: NetlinkSocket | undefined;
  return {
    use(work) {
      if (socket?.isOpen !== true) socket = openNetlink(libc, protocol, namespacePath);
      return work(socket);
    },
    [Symbol.dispose]: () => socket?.close(),
  };
}
