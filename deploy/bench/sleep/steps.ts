import type { StackClients } from "../../client/clients.ts";
import type { StackEnv } from "../../client/stack-env.ts";
import { fetchTrace } from "../../client/trace.ts";
import { report } from "../report.ts";

/** The steps that take their time, in their order; those of the guest are calls to its agent, each over TLS and emulated on one side. */
const steps = {
  SuspendTenant: ["quiesce-guest", "seal-state"],
  ResumeTenant: ["open-state", "load-state", "renew-identity", "return-secrets", "wake-workload"],
} as const;

/** One line for each long step of the tenant's suspends and resumes, out of their traces. `load-state` begins while `open-state` runs. */
export async function reportSteps(env: StackEnv, { audit }: StackClients, tenant: string): Promise<void> {
  for (const [action, names] of Object.entries(steps)) {
    const { records } = await audit.queryRecords({ tenant, action });
    const traceIds = new Set(records.map(({ draft }) => draft?.traceId ?? "").filter((traceId) => traceId !== ""));
    const spans = await Promise.all(
      [...traceIds].map((traceId) => fetchTrace(env.LOBSTERD_TRACES, traceId, { services: ["vm"], waitMs: 10_000 })),
    );
    for (const name of names) {
      const taken = spans.flat().filter((span) => span.service === "vm" && span.name === name);
      const milliseconds = taken.map(({ durationMs }) => durationMs);
      if (milliseconds.length > 0) report(`  ${action}: ${name}`, milliseconds);
    }
  }
}
