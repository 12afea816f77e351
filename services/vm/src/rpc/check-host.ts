import { create } from "@bufbuild/protobuf";
import { type CheckHostResponse, CheckHostResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { toDrainMessage } from "../drain-message.ts";
import { toControlMessage, toHostMode, toPostureSummary } from "../posture-message.ts";
import type { VmContext } from "../service.ts";

/** Looks at the host now, however recent the last look is. */
export function checkHost({ posture, drain }: Pick<VmContext, "posture" | "drain">) {
  return async (): Promise<CheckHostResponse> => {
    const report = await posture.check();
    const progress = drain.progress();
    return create(CheckHostResponseSchema, {
      controls: report.rows.map(toControlMessage),
      ...(progress && { drain: toDrainMessage(progress) }),
      mode: toHostMode(posture.mode),
      posture: toPostureSummary(report, posture.mode),
    });
  };
}
