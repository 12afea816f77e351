import type { Libc } from "../netlink/libc.ts";
import { changeElements, readElements, readElementsByName, readGeneration } from "../netlink/nftables.ts";
import { NetlinkRefused, type NetlinkSocket, openNetlink, protocols } from "../netlink/socket.ts";
import { type ElementStore, ElementsRefused, type RefusalReason } from "./element-store.ts";

const reasons: Readonly<Record<string, RefusalReason>> = {
  ENOENT: "no-such-set",
  ENFILE: "set-full",
  EEXIST: "overlap",
};

/**
 * Sets by the kernel's own protocol: no process, and a time that does not grow with the sets. Blocks the event loop for what
 * the kernel takes. `namespacePath`: file of a network namespace; without it, this process's own.
 */
export function netlinkElementStore(libc: Libc, namespacePath?: string): ElementStore {
  // A socket costs less than a tenth of a change. One for each call is never left in an unknown state by another.
  async function use<T>(work: (socket: NetlinkSocket) => T): Promise<T> {
    using socket = openNetlink(libc, protocols.netfilter, namespacePath);
    try {
      return work(socket);
    } catch (error) {
      if (!(error instanceof NetlinkRefused)) throw error;
      throw new ElementsRefused(reasons[error.code] ?? "other", error.message, error);
    }
  }
  return {
    change: (changes) => use((socket) => changeElements(socket, changes)),
    list: (set) => use((socket) => readElements(socket, set)),
    find: (names) => use((socket) => readElementsByName(socket, names)),
    generation() {
      using socket = openNetlink(libc, protocols.netfilter, namespacePath);
      return readGeneration(socket);
    },
  };
}
