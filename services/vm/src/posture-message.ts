import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  ControlVerdict,
  type HostControl,
  HostControlSchema,
  HostMode as HostModeMessage,
  type PostureSummarySchema,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { HostMode } from "./posture/posture.ts";
import { blockers, type ControlRow, type PostureReport } from "./posture/report.ts";

const verdicts: Readonly<Record<ControlRow["verdict"], ControlVerdict>> = {
  pass: ControlVerdict.PASS,
  fail: ControlVerdict.FAIL,
  waived: ControlVerdict.WAIVED,
  "not-applicable": ControlVerdict.NOT_APPLICABLE,
  unknown: ControlVerdict.UNKNOWN,
};

/** The wire form of one row. A waiver ends with its last day. */
export function toControlMessage(row: ControlRow): HostControl {
  const { id, requirement, measured, verdict, remedy, required, waiver } = row;
  return create(HostControlSchema, {
    ...{ controlId: id, requirement, measured, verdict: verdicts[verdict], remedy, required },
    ...(waiver === undefined
      ? {}
      : {
          waiver: {
            owner: waiver.owner,
            reason: waiver.reason,
            expireTime: timestampFromMs(Date.parse(`${waiver.expires}T23:59:59Z`)),
          },
        }),
  });
}

export function toHostMode(mode: HostMode): HostModeMessage {
  return mode === "production" ? HostModeMessage.PRODUCTION : HostModeMessage.DEVELOPMENT;
}

export function toPostureSummary(report: PostureReport, mode: HostMode): MessageInitShape<typeof PostureSummarySchema> {
  const idsOf = (verdict: ControlRow["verdict"]) =>
    report.rows.filter((row) => row.verdict === verdict).map(({ id }) => id);
  return {
    checkTime: timestampFromMs(report.checkTimeMs),
    spawnsAdmitted: mode === "development" || blockers(report).length === 0,
    failedControlIds: idsOf("fail"),
    unknownControlIds: idsOf("unknown"),
    waivedControlIds: idsOf("waived"),
  };
}
