import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { NetConfig } from "./config.ts";
import type { ElementStore } from "./firewall/element-store.ts";
import { netlinkElementStore } from "./firewall/netlink-element-store.ts";
import { nftElementStore } from "./firewall/nft-element-store.ts";
import { createProcessFlows, type Flows } from "./host/flows.ts";
import { createNetlinkFlows } from "./host/netlink-flows.ts";
import type { ProcessRunner } from "./host/process.ts";
import { keepSocket } from "./netlink/kept-socket.ts";
import { type Libc, LibcUnavailable, loadLibc } from "./netlink/libc.ts";
import { protocols } from "./netlink/socket.ts";
import { createNetlinkUsage } from "./usage/netlink-usage.ts";
import { type UsageReader, unavailableUsage } from "./usage/usage.ts";

/** The ways into the kernel that a network's attaching, changing, detaching and counting take. */
export interface KernelAccess extends Disposable {
  readonly elements: ElementStore;
  readonly flows: Flows;
  readonly usage: UsageReader;
}

export interface KernelAccessOptions {
  readonly runner: ProcessRunner;
  readonly config: Pick<NetConfig, "kernelAccess" | "resolverAddresses" | "netnsDir">;
  readonly logger: Logger;
  /** File of the host's network namespace, where it is not this process's own. */
  readonly hostNamespace: string | undefined;
}

/** In process where libc can be called, else by processes, which is slower and does not notice foreign changes at once. */
export function openKernelAccess({ runner, config, logger, hostNamespace }: KernelAccessOptions): KernelAccess {
  const libc = config.kernelAccess === "netlink" ? findLibc(logger) : undefined;
  const { netnsDir, resolverAddresses } = config;
  if (libc === undefined) {
    const flows = createProcessFlows(runner, resolverAddresses);
    return { elements: nftElementStore(runner), flows, usage: unavailableUsage, [Symbol.dispose]: () => undefined };
  }
  const netfilter = keepSocket(libc, protocols.netfilter, hostNamespace);
  const sockDiag = keepSocket(libc, protocols.sockDiag, hostNamespace);
  const routes = keepSocket(libc, protocols.route, hostNamespace);
  const elements = netlinkElementStore(netfilter);
  return {
    elements,
    flows: createNetlinkFlows({ libc, netfilter, sockDiag, netnsDir, resolverAddresses }),
    usage: createNetlinkUsage({ libc, elements, routes, netnsDir, resolverAddresses }),
    [Symbol.dispose]() {
      for (const socket of [netfilter, sockDiag, routes]) socket[Symbol.dispose]();
    },
  };
}

function findLibc(logger: Logger): Libc | undefined {
  try {
    return loadLibc();
  } catch (error) {
    if (!(error instanceof LibcUnavailable)) throw error;
    logger.warn({ err: error }, "libc cannot be called, using processes instead");
    return undefined;
  }
}
