import type { KeptSocket } from "../netlink/kept-socket.ts";
import { changeElements, readElements, readElementsByName, readGeneration } from "../netlink/nftables.ts";
import { NetlinkRefused, type NetlinkSocket } from "../netlink/socket.ts";
import { type ElementStore, ElementsRefused, type RefusalReason } from "./element-store.ts";

const reasons: Readonly<Record<string, RefusalReason>> = {
  ENOENT: "no-such-set",
  ENFILE: "set-full",
  EEXIST: "overlap",
};

/**
 * Sets by the kernel's own protocol: no process, and a time that does not grow with the sets. Blocks the event loop for what
 * the kernel takes. `netfilter`: of `protocols.netfilter`.
 */
export function netlinkElementStore(netfilter: KeptSocket): ElementStore {
  async function use<T>(work: (socket: NetlinkSocket) => T): Promise<T> {
    try {
      return netfilter.use(work);
    } catch (error) {
      if (!(error instanceof NetlinkRefused)) throw error;
      throw new ElementsRefused(reasons[error.code] ?? "other", error.message, error);
    }
  }
  return {
    change: (changes) => use((socket) => changeElements(socket, changes)),
    list: (set) => use((socket) => readElements(socket, set)),
    find: (names) => use((socket) => readElementsByName(socket, names)),
    generation: () => netfilter.use(readGeneration),
  };
}
