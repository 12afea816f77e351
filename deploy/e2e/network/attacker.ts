import assert from "node:assert/strict";
import { inner, planSlot, type SlotPlan } from "../../../services/net/src/slots/address-plan.ts";
import type { FrameAnswer, FrameExchange } from "../../guest/probe/frames.ts";
import type { Run, RunResult } from "../../guest/probe/run.ts";
import type { Connects, Flood, Outcome, Target } from "../../guest/probe/sockets.ts";
import { ask, spawn } from "../subject.ts";

/** A tenant of the image made for tests, whose workload is root in a real guest and does what it is told over HTTPS. */
export interface Attacker {
  readonly name: string;
  readonly plan: SlotPlan;
  run(run: Run): Promise<RunResult>;
  /** Sends raw frames out of the guest's link. */
  send(frames: readonly Buffer[], options?: Pick<FrameExchange, "repeat" | "listen">): Promise<readonly Buffer[]>;
  connect(connects: Connects): Promise<readonly Outcome[]>;
  flood(flood: Flood): Promise<{ established: number }>;
  hold(target: Pick<Target, "host" | "port">): Promise<Outcome>;
  use(): Promise<Outcome>;
}

const answerLimitMs = 120_000;

/** Boots a tenant of that name, on whatever slot the stack chooses. */
export async function bootAttacker(name: string): Promise<Attacker> {
  const { slot } = await spawn(name, "probe");
  return adoptAttacker(name, slot);
}

/** The same for a tenant of the image `probe` that runs already. */
export function adoptAttacker(name: string, slot: number): Attacker {
  const post = async <T>(path: string, parameters: unknown): Promise<T> => {
    const { status, body } = await ask(name, {
      method: "POST",
      path,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(parameters),
      timeoutMs: answerLimitMs,
    });
    assert.equal(status, 200, body);
    return JSON.parse(body) as T;
  };
  return {
    name,
    plan: planSlot(slot),
    run: (run) => post("/run", run),
    async send(frames, options = {}) {
      const encoded = frames.map((frame) => frame.toString("base64"));
      const answer = await post<FrameAnswer>("/frames", { link: "eth0", frames: encoded, ...options });
      assert.equal(answer.sent, frames.length * (options.repeat ?? 1));
      return answer.received.map((frame) => Buffer.from(frame, "base64"));
    },
    connect: (connects) => post("/connect", connects),
    flood: (flood) => post("/flood", flood),
    hold: (target) => post("/hold", target),
    use: () => post("/use", {}),
  };
}

/** How a guest's own frames are addressed. */
export const fromGuest = {
  sourceMac: inner.guestMac,
  destinationMac: inner.gatewayMac,
  source: inner.guestAddress,
} as const;

/** How frames are addressed that somebody sends from inside the slot's namespace, past the rules at its tap. */
export function fromSlot({ slotMac, hostMac, guestAddress }: SlotPlan): Record<keyof typeof fromGuest, string> {
  return { sourceMac: slotMac, destinationMac: hostMac, source: guestAddress };
}
