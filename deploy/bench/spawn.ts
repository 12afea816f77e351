import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { StackClients } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import type { StackEnv } from "../client/stack-env.ts";
import { fetchTrace, type TraceSpan } from "../client/trace.ts";

/** USER_HZ, which is the same on every x86 Linux. */
const millisecondsPerTick = 10;

/** Times of one spawn, in milliseconds. */
export interface SpawnTimes {
  /** From the call to the first answer over HTTPS. */
  readonly totalMs: number;
  /** QEMU's own start, from its exec until its vCPU could run: a bare boot has it too. */
  readonly vmmStartMs: number;
  /** Processor time of the guest's VMM until then, all of its threads: what it takes whatever else the machine does. */
  readonly guestCpuMs: number;
  /** The call of SpawnTenant less the time in which the guest's boot was waited for, QEMU's own start included. */
  readonly controlPlaneMs: number;
  /** What the guest began with: `kernel` or `template`. */
  readonly bootOrigin: string;
  readonly trace: readonly TraceSpan[];
}

type Wait = { readonly service: string; readonly name: string };

/** The launcher's own measure, from the moment the jail is built; `vm` reports it. */
const vmmStart: Wait = { service: "vm", name: "launcher vmm" };

/** Spans in which nothing happens but waiting for the guest: `vm` for its boot and its workload, `secrets` for its answer. */
const waits: readonly Wait[] = [
  vmmStart,
  { service: "vm", name: "await-agent" },
  { service: "vm", name: "await-workload" },
  { service: "secrets", name: "lobsterd.agent.v1.AgentService/InjectSecrets" },
];

/** Guest's or QEMU's own work too, where there is any: the guest is booted to be saved, or its memory is read. */
const templateWaits: readonly Wait[] = [
  { service: "vm", name: "save-template" },
  { service: "vm", name: "load-template" },
];

/** Spawns a tenant of the usual size. */
export async function measureSpawn(env: StackEnv, clients: StackClients, tenant: string): Promise<SpawnTimes> {
  const start = performance.now();
  const spawned = await clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant });
  const callMs = performance.now() - start;
  const { status } = await askFront(env, hostOf(env, tenant), { path: "/health" });
  const totalMs = performance.now() - start;
  const guestCpuMs = vmmCpuMs(spawned.tenant?.vmId ?? "");
  if (status !== 200) throw new Error(`the tenant answered ${status}`);
  const trace = await completeTrace(env, await traceOf(clients, tenant));
  const templateMs = templateWaits.flatMap((wait) => spansOf(trace, wait)).map(({ durationMs }) => durationMs);
  const waitedMs = [...waits.map((wait) => durationOf(trace, wait)), ...templateMs].reduce((sum, ms) => sum + ms, 0);
  return {
    bootOrigin: spawned.tenant?.bootOrigin ?? "",
    totalMs,
    guestCpuMs,
    vmmStartMs: durationOf(trace, vmmStart),
    controlPlaneMs: callMs - waitedMs,
    trace,
  };
}

/** Processor time of the VMM whose guest is `vmId`, which it has for a name. Throws when there is not one such process. */
function vmmCpuMs(vmId: string): number {
  const isIts = (pid: string) => {
    const [program, ...rest] = readOrNothing(`/proc/${pid}/cmdline`).split("\0");
    return vmId !== "" && program?.endsWith("/qemu-system-x86_64") === true && rest.includes(vmId);
  };
  const [pid, ...more] = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && isIts(name));
  if (pid === undefined || more.length > 0)
    throw new Error(`${more.length + 1} processes are the VMM of ${vmId}, or none`);
  const [userTicks, systemTicks] =
    readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ").slice(11) ?? [];
  return (Number(userTicks) + Number(systemTicks)) * millisecondsPerTick;
}

/** A process may end while it is looked at. */
function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/** The trace once it has every wait: each service sends its spans in batches, and each wait may be in the next one. */
function completeTrace(env: StackEnv, traceId: string): Promise<readonly TraceSpan[]> {
  const fetchComplete = async () => {
    const trace = await fetchTrace(env.LOBSTERD_TRACES, traceId, {
      services: ["vm", "secrets", "agent"],
      waitMs: 10_000,
    });
    return waits.every((wait) => spansOf(trace, wait).length > 0) ? trace : undefined;
  };
  return waitFor("the trace to show how long the guest was waited for", fetchComplete, {
    timeoutMs: 10_000,
    intervalMs: 200,
  });
}

function spansOf(trace: readonly TraceSpan[], wait: Wait): readonly TraceSpan[] {
  return trace.filter(({ service, name }) => service === wait.service && name === wait.name);
}

/** Of the one span that `wait` names: after a second boot of the same spawn there are two, and the figure would be of neither. */
function durationOf(trace: readonly TraceSpan[], wait: Wait): number {
  const [span, ...more] = spansOf(trace, wait);
  if (span === undefined || more.length > 0)
    throw new Error(`the trace does not show one ${wait.name} of ${wait.service}`);
  return span.durationMs;
}

/** The trace that the audit log names for the spawn. */
async function traceOf({ audit }: StackClients, tenant: string): Promise<string> {
  const { records } = await audit.queryRecords({ tenant, action: "SpawnTenant" });
  const traceId = records.at(-1)?.draft?.traceId;
  if (traceId === undefined || traceId === "") throw new Error("the audit log names no trace of the spawn");
  return traceId;
}
