import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type IdlePolicy as IdleMessage,
  IdleMode,
  type IdlePolicySchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { z } from "zod";

/** What is stored of a tenant's policy. */
export const idlePolicySchema = z.discriminatedUnion("mode", [
  z.object({ mode: z.literal("after"), thresholdMs: z.number() }),
  z.object({ mode: z.literal("manual") }),
  z.object({ mode: z.literal("never") }),
]);

/** When a tenant is suspended without being asked for: after it was idle for so long, by SuspendTenant only, or not even then. */
export type IdlePolicy = Readonly<z.infer<typeof idlePolicySchema>>;

export interface IdleDefaults {
  readonly defaultIdleMode: "after" | "manual" | "never";
  readonly idleThresholdMs: number;
}

/** The policy of a request, with the host's defaults for what it does not say. A threshold alone asks for its use. */
export function toIdlePolicy(message: IdleMessage | undefined, defaults: IdleDefaults): IdlePolicy {
  switch (modeOf(message, defaults)) {
    case "after":
      return {
        mode: "after",
        thresholdMs: message?.threshold === undefined ? defaults.idleThresholdMs : durationMs(message.threshold),
      };
    case "never":
      return { mode: "never" };
    default:
      return { mode: "manual" };
  }
}

function modeOf(message: IdleMessage | undefined, { defaultIdleMode }: IdleDefaults): IdlePolicy["mode"] {
  switch (message?.mode) {
    case IdleMode.AFTER:
      return "after";
    case IdleMode.MANUAL:
      return "manual";
    case IdleMode.NEVER:
      return "never";
    default:
      return message?.threshold === undefined ? defaultIdleMode : "after";
  }
}

export function toIdleMessage(policy: IdlePolicy): MessageInitShape<typeof IdlePolicySchema> {
  switch (policy.mode) {
    case "after":
      return { mode: IdleMode.AFTER, threshold: durationFromMs(policy.thresholdMs) };
    case "manual":
      return { mode: IdleMode.MANUAL };
    case "never":
      return { mode: IdleMode.NEVER };
  }
}
