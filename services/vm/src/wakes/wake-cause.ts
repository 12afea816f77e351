import { WakeCause } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { SleepCause } from "../store/tenant-record.ts";

/** Why a tenant was woken, as rows, events and records have it. Schedules are `vm`'s own, so no call names them. */
export type WakeCauseText = Extract<SleepCause, "request" | "schedule">;

const texts: Partial<Record<WakeCause, WakeCauseText>> = { [WakeCause.REQUEST]: "request" };

/** Of a call; undefined for what the contract does not let through. */
export function causeText(cause: WakeCause): WakeCauseText | undefined {
  return texts[cause];
}
