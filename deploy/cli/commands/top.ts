import { toJson } from "@bufbuild/protobuf";
import { GetNetworkUsageResponseSchema } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { TenantSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command, Context } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { jsonText } from "../printable.ts";
import { bytesText } from "../show.ts";
import { type Column, renderTable } from "../table.ts";
import { stateText } from "../tenant-text.ts";
import { createSampler, type TenantSample } from "../usage-samples.ts";

const periodMs = 1000;
const maxRounds = 1_000_000;

const columns: ReadonlyArray<Column<TenantSample>> = [
  { heading: "NAME", cell: ({ tenant }) => tenant.name },
  { heading: "STATE", cell: ({ tenant }) => stateText(tenant.state) },
  { heading: "VCPUS", cell: ({ tenant }) => String(tenant.resources?.vcpuCount ?? 0), isRight: true },
  { heading: "MEMORY", cell: ({ tenant }) => `${tenant.resources?.memoryMib ?? 0} MiB`, isRight: true },
  { heading: "RECV/S", cell: (sample) => rateText(sample.receivedBytesPerSecond), isRight: true },
  { heading: "SENT/S", cell: (sample) => rateText(sample.sentBytesPerSecond), isRight: true },
  { heading: "RECV", cell: ({ usage }) => (usage === undefined ? "" : bytesText(usage.receivedBytes)), isRight: true },
  { heading: "SENT", cell: ({ usage }) => (usage === undefined ? "" : bytesText(usage.sentBytes)), isRight: true },
  { heading: "CONNS", cell: ({ usage }) => String(usage?.trackedConnections ?? ""), isRight: true },
  { heading: "DROPPED", cell: ({ usage }) => droppedText(usage?.droppedPackets), isRight: true },
];

export const top: Command = {
  name: "top",
  summary: "show tenants and what their networks do, anew every second",
  operands: [],
  options: { rounds: { value: "N", help: "end after N tables (default 1, and without end in a terminal)" } },
  notes: "Each table of --json is one line. Ends with Ctrl-C.",
  async run(words, context) {
    const { io, wantsJson, signal, clock } = context;
    const isLive = io.output.isTerminal && !wantsJson;
    const rounds = words.count("rounds", maxRounds) ?? (isLive ? Number.POSITIVE_INFINITY : 1);
    const sample = createSampler(context.clients, () => clock.now(), signal);
    for (let round = 0; round < rounds; round += 1) {
      if (round > 0) await clock.sleep(periodMs, signal);
      const samples = await unlessAborted(signal, sample);
      if (samples === undefined) break;
      await io.output.write(render(samples, context, isLive));
    }
    return exitStatus.ok;
  },
};

/** To end `top` is no failure, whenever it is done. */
async function unlessAborted<T>(signal: AbortSignal, take: () => Promise<T>): Promise<T | undefined> {
  if (signal.aborted) return undefined;
  try {
    return await take();
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

function render(samples: readonly TenantSample[], { io, wantsJson, clock }: Context, isLive: boolean): string {
  const time = new Date(clock.now()).toISOString();
  if (wantsJson) return `${jsonText({ time, tenants: samples.map(sampleJson) }, 0)}\n`;
  const table = renderTable(columns, samples);
  if (!isLive) return table;
  const { columns: width, rows } = io.output.size();
  const lines = [`${time}  ${samples.length} tenants`, ...table.trimEnd().split("\n")];
  const shown = lines.length < rows ? lines : [...lines.slice(0, rows - 2), `${lines.length - rows + 2} more`];
  // From the top left, each line's old rest erased, then all below: without clearing first nothing flickers.
  return `\x1b[H${shown.map((line) => `${line.slice(0, width)}\x1b[K\r\n`).join("")}\x1b[J`;
}

function sampleJson({ tenant, usage, ...rates }: TenantSample) {
  return {
    tenant: toJson(TenantSchema, tenant, { alwaysEmitImplicit: true }),
    usage: usage === undefined ? null : toJson(GetNetworkUsageResponseSchema, usage, { alwaysEmitImplicit: true }),
    receivedBytesPerSecond: rates.receivedBytesPerSecond ?? null,
    sentBytesPerSecond: rates.sentBytesPerSecond ?? null,
  };
}

function rateText(bytesPerSecond: number | undefined): string {
  return bytesPerSecond === undefined ? "" : bytesText(bytesPerSecond);
}

function droppedText(dropped: Readonly<Record<string, bigint>> | undefined): string {
  if (dropped === undefined) return "";
  return String(Object.values(dropped).reduce((sum, count) => sum + count, 0n));
}
