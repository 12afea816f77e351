import { type OutboundConnection, permits } from "../firewall/egress.ts";
import type { Egress } from "../networks/policy.ts";
import { planSlot } from "../slots/address-plan.ts";
import { ProcessFailed, type ProcessRunner } from "./process.ts";

/** Ends what the host still has open with a guest. */
export interface Flows {
  /**
   * The host's own sockets to `address`, and every tracked connection from or to it. Only worth calling once the firewall has
   * cut the guest off, or new ones appear behind it. Safe to repeat.
   */
  endAll(address: string): Promise<void>;
  /** The tracked connections that the guest of `slot` opened and `egress` does not permit. Safe to repeat. */
  endForbidden(slot: number, egress: Egress): Promise<void>;
}

/** A connection that a guest opened, with what names it among its others. */
export interface TrackedConnection extends OutboundConnection {
  readonly sourcePort: number;
}

/** The fallback that needs no call into the kernel: `ss` and `conntrack`. */
export function createProcessFlows(runner: ProcessRunner, resolverAddresses: readonly string[]): Flows {
  async function endForbidden(slot: number, egress: Egress): Promise<void> {
    const source = planSlot(slot).guestAddress;
    const tracked = readConnections(await runner.run(["conntrack", "-L", "--orig-src", source]));
    for (const connection of tracked.filter((one) => !permits(egress, resolverAddresses, one))) {
      const { protocol, address, port, sourcePort } = connection;
      const ports = port === 0 ? [] : ["--sport", String(sourcePort), "--dport", String(port)];
      await forget(runner, ["-p", String(protocol), "--orig-src", source, "--orig-dst", address, ...ports]);
    }
  }

  return {
    async endAll(address) {
      await Promise.all([
        // A cut flow sends no reset by itself: without this, a pooled connection hangs until its own timeout.
        runner.run(["ss", "-H", "-t", "-u", "-n", "-a", "-K", "dst", address]),
        forget(runner, ["--orig-src", address]),
        forget(runner, ["--orig-dst", address]),
      ]);
    },
    endForbidden,
  };
}

/** Reads what `conntrack -L` prints: the first address and port of a kind in a line are those of the packet that opened it. */
export function readConnections(text: string): TrackedConnection[] {
  return text
    .split("\n")
    .filter((line) => line.includes("src="))
    .map((line) => {
      const field = (name: string): string | undefined => new RegExp(`\\b${name}=(\\S+)`).exec(line)?.[1];
      const protocol = Number(/^\S+\s+(\d+)/.exec(line)?.[1]);
      const address = field("dst");
      if (address === undefined || Number.isNaN(protocol)) throw new Error(`conntrack printed ${line.slice(0, 120)}`);
      return { protocol, address, port: Number(field("dport") ?? 0), sourcePort: Number(field("sport") ?? 0) };
    });
}

async function forget(runner: ProcessRunner, selector: readonly string[]): Promise<void> {
  try {
    await runner.run(["conntrack", "-D", ...selector]);
  } catch (error) {
    // conntrack ends with 1 both when it fails and when nothing matched; only the text tells them apart.
    if (error instanceof ProcessFailed && error.status === 1 && /\b0 flow entries have been deleted/.test(error.stderr))
      return;
    throw error;
  }
}
