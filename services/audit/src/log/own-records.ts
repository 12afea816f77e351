import type { Draft } from "./canonical.ts";
import { instantOf } from "./recovery.ts";

/** What audit itself has to say, as the writer of its own records. */
export interface OwnRecords {
  /** The clock is `byMs` behind the last record. */
  clockWentBack(nowMs: number, byMs: number): { readonly draft: Draft; readonly writer: string };
}

export function createOwnRecords(options: {
  readonly self: string;
  readonly bootId: string;
  readonly serviceVersion: string;
  readonly newEventId: () => string;
}): OwnRecords {
  const { self, serviceVersion } = options;
  return {
    clockWentBack(nowMs, byMs) {
      const what = { action: "ObserveClock", resource: `clock/${byMs}ms-behind`, reason: "CLOCK_WENT_BACK" };
      const draft: Draft = {
        eventId: options.newEventId(),
        time: instantOf(nowMs),
        ...what,
        ...{ phase: 2, outcome: 2, actor: "", onBehalfOf: "", tenant: "", generation: 0 },
        ...{ requestDigest: "", traceId: "", serviceVersion },
        // Not counted: the sequence of the log itself, which it is written into at once, leaves no gap to show.
        ...{ writerBootId: options.bootId, writerSequence: 0 },
      };
      return { draft, writer: self };
    },
  };
}
