import {
  CheckHostResponseSchema,
  ControlVerdict,
  ControlVerdictSchema,
  type HostControl,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { Command } from "../command.ts";
import { drainText } from "../drain-text.ts";
import { exitStatus } from "../failure.ts";
import { enumText, show } from "../show.ts";
import { type Column, renderTable } from "../table.ts";

const columns: ReadonlyArray<Column<HostControl>> = [
  { heading: "CONTROL", cell: ({ controlId }) => controlId },
  { heading: "PRIORITY", cell: ({ required }) => (required ? "P0" : "") },
  { heading: "VERDICT", cell: ({ verdict }) => enumText(ControlVerdictSchema, verdict) },
  { heading: "MEASURED", cell: ({ measured }) => measured },
  { heading: "REQUIREMENT", cell: ({ requirement }) => requirement },
  { heading: "REMEDY", cell: (control) => (isUnmet(control) ? control.remedy : "") },
];

export const hostCheck: Command = {
  name: "host check",
  summary: "judge the host now: every control with its measured value",
  operands: [],
  options: { unmet: { help: "only controls that are failed or unknown" } },
  notes:
    "The exit status is 1 if a required control (P0) is failed or unknown, whatever mode the host is in. Nothing is changed.",
  async run(words, context) {
    const answer = await context.clients.host.checkHost({}, { signal: context.signal });
    const blockers = answer.controls.filter((control) => control.required && isUnmet(control));
    const shown = words.has("unmet") ? answer.controls.filter(isUnmet) : answer.controls;
    const conclusion =
      blockers.length === 0
        ? "production admits tenants"
        : `production admits no tenant: ${blockers.map(({ controlId }) => controlId).join(" ")}`;
    await show(
      context,
      CheckHostResponseSchema,
      { ...answer, controls: shown },
      () =>
        `${renderTable(columns, shown)}\n${conclusion}\n${answer.drain ? `drain: ${drainText(answer.drain)}\n` : ""}`,
    );
    return blockers.length === 0 ? exitStatus.ok : exitStatus.failed;
  },
};

const met: ReadonlySet<ControlVerdict> = new Set([
  ControlVerdict.PASS,
  ControlVerdict.WAIVED,
  ControlVerdict.NOT_APPLICABLE,
]);

function isUnmet({ verdict }: HostControl): boolean {
  return !met.has(verdict);
}
