import { DrainedTenants, type HostDrain } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";

/** How far a drain is, in one line; `no` for a host that is not drained. */
export function drainText(drain: HostDrain | undefined): string {
  if (drain === undefined) return "no";
  const { tenants, reason, activeCount, suspendedCount, done, failures } = drain;
  const counts =
    tenants === DrainedTenants.KEEP
      ? `its tenants go on: ${activeCount} active, ${suspendedCount} suspended`
      : `${done ? "done" : "under way"}: ${activeCount} active, ${suspendedCount} suspended`;
  const failed = failures.map((failure) => `${failure.tenant} (${failure.reason})`).join(", ");
  return [counts, reason && `for ${reason}`, failed && `not suspended yet: ${failed}`].filter(Boolean).join("; ");
}
