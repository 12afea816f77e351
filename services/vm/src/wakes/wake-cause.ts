import { type WakeCause, WakeCauseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";

/** Why a tenant was woken, as events and records have it: `request`. */
export function causeText(cause: WakeCause): string {
  return (WakeCauseSchema.value[cause]?.localName ?? "unknown").toLowerCase();
}
