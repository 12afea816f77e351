import { z } from "zod";
import { parseJsonAnswer } from "./json-answer.ts";

const maxLineBytes = 256 * 1024;
const newline = 0x0a;

/** Sums over a VMM's life of what it reports each minute and at its end. */
export interface MetricCounters {
  /** Bytes of the serial device that its limiter dropped. */
  readonly serialDroppedBytes: number;
  /** Log lines that found the FIFO full. */
  readonly missedLogLines: number;
  /** Reports that were too long, or not JSON. */
  readonly malformedReports: number;
}

export interface MetricsReader {
  write(chunk: Buffer): void;
  readonly counters: MetricCounters;
}

const count = z.int().min(0).catch(0);
const reportSchema = z.object({
  uart: z.object({ rate_limiter_dropped_bytes: count }).catch({ rate_limiter_dropped_bytes: 0 }),
  logger: z.object({ missed_log_count: count }).catch({ missed_log_count: 0 }),
});

/** Reads Firecracker's metrics: one JSON object a line, each with what was counted since the line before. */
export function createMetricsReader(): MetricsReader {
  let line: Buffer[] = [];
  let lineBytes = 0;
  const counters = { serialDroppedBytes: 0, missedLogLines: 0, malformedReports: 0 };

  const add = (part: Buffer) => {
    lineBytes += part.length;
    if (lineBytes <= maxLineBytes) line.push(Buffer.from(part));
    else line = [];
  };
  const finish = () => {
    const report = lineBytes > maxLineBytes ? undefined : parseReport(Buffer.concat(line));
    line = [];
    lineBytes = 0;
    if (report === undefined) counters.malformedReports += 1;
    else {
      counters.serialDroppedBytes = saturated(counters.serialDroppedBytes + report.uart.rate_limiter_dropped_bytes);
      counters.missedLogLines = saturated(counters.missedLogLines + report.logger.missed_log_count);
    }
  };
  return {
    write(chunk) {
      let from = 0;
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
        add(chunk.subarray(from, end));
        finish();
        from = end + 1;
      }
      if (from < chunk.length) add(chunk.subarray(from));
    },
    counters,
  };
}

function parseReport(line: Buffer): z.infer<typeof reportSchema> | undefined {
  try {
    return reportSchema.safeParse(parseJsonAnswer(line)).data;
  } catch {
    return undefined; // counted by the caller
  }
}

const saturated = (value: number) => Math.min(value, Number.MAX_SAFE_INTEGER);
