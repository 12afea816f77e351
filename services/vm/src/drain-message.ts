import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { DrainedTenants, type HostDrain, HostDrainSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { DrainProgress } from "./lifecycle/drain.ts";

const kinds = { suspend: DrainedTenants.SUSPEND, keep: DrainedTenants.KEEP } as const;

/** The wire form of a drain that is in force. */
export function toDrainMessage(progress: DrainProgress): HostDrain {
  const { tenants, reason, startTimeMs, activeCount, suspendedCount, isDone, failures } = progress;
  return create(HostDrainSchema, {
    ...{ tenants: kinds[tenants], reason, startTime: timestampFromMs(startTimeMs), activeCount, suspendedCount },
    ...{ done: isDone, failures: [...failures] },
  });
}
