import { z } from "zod";
import { inScratchNamespace } from "../host/namespace.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { Limits } from "../networks/policy.ts";
import { inner, namespacePath, planSlot } from "./address-plan.ts";

/** Long enough for a burst of the protocols, short enough that a full queue does not make a tenant's own traffic useless. */
const queueMs = 50;
const smallestBurstBytes = 32 * 1024;
/** What a rate lets through while the kernel's timer may be late. */
const timerMs = 4;

/**
 * Bandwidth of slots, by a token bucket at the end of each link that sends: the slot's own end for what the guest sends, the
 * host's for what it receives. Packets per second are the firewall's.
 */
export interface Shaper {
  shape(slot: number, limits: Limits): Promise<void>;
  /** The host's side of several slots in one process. */
  shapeLinks(slots: readonly number[], receivedKbits: number): Promise<void>;
  shapeUplink(slot: number, sentKbits: number): Promise<void>;
  /** Which of `slots` are not shaped as `limitsOf` says on the host's side. One process however many there are. */
  misshapenLinks(slots: readonly number[], limitsOf: (slot: number) => Limits): Promise<number[]>;
  /** The same for the side in the slot's namespace. */
  isUplinkShaped(slot: number, limits: Limits): Promise<boolean>;
}

/**
 * Throws if the kernel of this host has no token bucket: a slot without one would never become ready, and nobody would know why.
 * `scratchPath`: file for a namespace of a moment.
 */
export async function requireTokenBucket(runner: ProcessRunner, scratchPath: string): Promise<void> {
  await inScratchNamespace(runner, scratchPath, async (scratch) => {
    await batch(scratch, [bucket("lo", 1000)]).catch((error: unknown) => {
      throw new Error("this kernel cannot shape traffic: it has no tbf (CONFIG_NET_SCH_TBF)", { cause: error });
    });
  });
}

export function createShaper(runner: ProcessRunner, netnsDir: string): Shaper {
  const within = (slot: number): ProcessRunner => runner.within(namespacePath(netnsDir, slot));
  async function shapeLinks(slots: readonly number[], receivedKbits: number): Promise<void> {
    await batch(
      runner,
      slots.map((slot) => bucket(planSlot(slot).hostInterface, receivedKbits)),
    );
  }

  async function shapeUplink(slot: number, sentKbits: number): Promise<void> {
    await batch(within(slot), [bucket(inner.uplink, sentKbits)]);
  }

  return {
    async shape(slot, { sentKbits, receivedKbits }) {
      await Promise.all([shapeLinks([slot], receivedKbits), shapeUplink(slot, sentKbits)]);
    },
    shapeLinks,
    shapeUplink,
    async misshapenLinks(slots, limitsOf) {
      const rates = await listRates(runner);
      return slots.filter((slot) => rates.get(planSlot(slot).hostInterface) !== limitsOf(slot).receivedKbits);
    },
    async isUplinkShaped(slot, { sentKbits }) {
      return (await listRates(within(slot))).get(inner.uplink) === sentKbits;
    },
  };
}

/** A line for `tc -batch` that shapes what leaves by `link`. */
function bucket(link: string, kbits: number): string {
  const bytesPerSecond = kbits * 125;
  const burst = Math.max(smallestBurstBytes, Math.ceil((bytesPerSecond * timerMs) / 1000));
  return `qdisc replace dev ${link} root tbf rate ${kbits}kbit burst ${burst} latency ${queueMs}ms`;
}

async function batch(runner: ProcessRunner, lines: readonly string[]): Promise<void> {
  await runner.run(["tc", "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

const qdiscs = z.array(
  z.object({
    kind: z.string(),
    dev: z.string(),
    root: z.boolean().optional(),
    // Bytes per second.
    options: z.object({ rate: z.number().optional() }).optional(),
  }),
);

/** Kilobits per second of every link that has a token bucket. */
async function listRates(runner: ProcessRunner): Promise<ReadonlyMap<string, number>> {
  const listed = qdiscs.parse(JSON.parse(await runner.run(["tc", "-json", "qdisc", "show"])));
  return new Map(
    listed
      .filter(({ kind, root }) => kind === "tbf" && root === true)
      .map(({ dev, options }) => [dev, (options?.rate ?? 0) / 125]),
  );
}
