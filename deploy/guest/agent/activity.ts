import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AcquireHoldResponseSchema,
  type AgentService,
  GetActivityResponseSchema,
  ReleaseHoldResponseSchema,
  type ScheduledRunSchema,
  ScheduleKind,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Holds } from "./holds.ts";
import type { ScheduleKind as JobKind, JobsFile, NextRun } from "./jobs-file.ts";
import { toTimestamp } from "./timestamp.ts";
import type { Traffic } from "./traffic.ts";

export type ActivityParts = {
  readonly traffic: Traffic;
  readonly holds: Holds;
  readonly jobs: Pick<JobsFile, "read">;
};

const wireKinds: Readonly<Record<JobKind, ScheduleKind>> = {
  cron: ScheduleKind.CRON,
  every: ScheduleKind.INTERVAL,
  at: ScheduleKind.AT,
  heartbeat: ScheduleKind.HEARTBEAT,
};

export function toWireRun({ kind, timeMs }: NextRun): MessageInitShape<typeof ScheduledRunSchema> {
  return { kind: wireKinds[kind], time: toTimestamp(timeMs) };
}

/** The handlers of what goes on in this guest. */
export function activityHandlers({
  traffic,
  holds,
  jobs,
}: ActivityParts): Pick<ServiceImpl<typeof AgentService>, "getActivity" | "acquireHold" | "releaseHold"> {
  return {
    async getActivity() {
      const { running, nextRuns } = jobs.read(Date.now());
      return create(GetActivityResponseSchema, {
        inboundConnections: traffic.open,
        holds: holds.count,
        runningJobs: running,
        nextRuns: nextRuns.map(toWireRun),
      });
    },
    async acquireHold({ holdId, duration }) {
      const lastsMs = duration === undefined ? 0 : durationMs(duration);
      holds.acquire(holdId, lastsMs);
      return create(AcquireHoldResponseSchema, { expireTime: timestampFromMs(Date.now() + lastsMs) });
    },
    async releaseHold({ holdId }) {
      holds.release(holdId);
      return create(ReleaseHoldResponseSchema);
    },
  };
}
