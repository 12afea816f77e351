/**
 * Brings what the services of a development stack export to a collector on the machine: their network namespace has no way to it, and the stack's own
 * receiver can be reached from both. `node deploy/observability/relay.ts [--to http://127.0.0.1:4318]`, with `.run/env` sourced. Ends with Ctrl-C.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { z } from "zod";

const intervalMs = 500;
const requestLimitMs = 10_000;

const answerSchema = z.object({
  last: z.number().int().nonnegative(),
  exports: z.array(z.object({ path: z.enum(["/v1/traces", "/v1/metrics"]), body: z.string() })),
});

/** Brings what the receiver has since number `after` to the collector. Returns the number to go on from; throws where either is away. */
export async function relayOnce(receiver: string, collector: string, after: number): Promise<number> {
  const signal = AbortSignal.timeout(requestLimitMs);
  const answer = await fetch(`${receiver}/exports?after=${after}`, { signal });
  const { last, exports } = answerSchema.parse(await answer.json());
  for (const { path, body } of exports) {
    const headers = { "content-type": "application/json" };
    const taken = await fetch(`${collector}${path}`, { method: "POST", headers, body, signal });
    if (!taken.ok) throw new Error(`${collector}${path} answered ${taken.status}`);
  }
  return last;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { to: { type: "string", default: "http://127.0.0.1:4318" } } });
  const receiver = process.env["LOBSTERD_TRACES"];
  if (receiver === undefined) throw new Error("LOBSTERD_TRACES is not set: . .run/env");
  let last = 0;
  let told = "";
  for (;;) {
    try {
      last = await relayOnce(receiver, values.to, last);
      told = "";
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      // One line an outage.
      if (message !== told) process.stderr.write(`${message}, trying again\n`);
      told = message;
    }
    await delay(intervalMs);
  }
}

if (import.meta.main) await main();
