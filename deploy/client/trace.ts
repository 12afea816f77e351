import { z } from "zod";

const spanSchema = z.object({
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string(),
  name: z.string(),
  service: z.string(),
  startMs: z.number(),
  durationMs: z.number(),
  failed: z.boolean(),
  attributes: z.record(z.string(), z.unknown()),
});

/** One span as the development receiver gives it. `parentSpanId` is empty for a root. */
export type TraceSpan = Readonly<z.infer<typeof spanSchema>>;

/** The spans of a trace, once each of `services` has at least one in it or `waitMs` are over. */
export async function fetchTrace(
  receiver: string,
  traceId: string,
  wish: { readonly services: readonly string[]; readonly waitMs: number },
): Promise<readonly TraceSpan[]> {
  const query = new URLSearchParams({ wait: String(wish.waitMs), services: wish.services.join(",") });
  const answer = await fetch(`${receiver}/traces/${traceId}?${query}`, {
    signal: AbortSignal.timeout(wish.waitMs + 5000),
  });
  if (!answer.ok) throw new Error(`the trace receiver answered ${answer.status}: ${await answer.text()}`);
  return z.array(spanSchema).parse(await answer.json());
}
