import {
  type Record as AuditRecord,
  RecordOutcome,
  RecordOutcomeSchema,
  RecordPhaseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { enumText, momentText } from "./show.ts";
import type { Column } from "./table.ts";

/** Columns of audit records. */
export const recordColumns: ReadonlyArray<Column<AuditRecord>> = [
  { heading: "SEQ", cell: ({ sequence }) => String(sequence), isRight: true },
  { heading: "TIME", cell: ({ draft }) => momentText(draft?.time) },
  { heading: "ACTION", cell: ({ draft }) => draft?.action ?? "" },
  { heading: "TENANT", cell: ({ draft }) => draft?.tenant ?? "" },
  { heading: "PHASE", cell: ({ draft }) => enumText(RecordPhaseSchema, draft?.phase ?? 0) },
  { heading: "OUTCOME", cell: outcomeText },
  { heading: "ACTOR", cell: ({ draft }) => shortUri(draft?.onBehalfOf || draft?.actor || "") },
  { heading: "WRITER", cell: ({ writer }) => shortUri(writer) },
  { heading: "REASON", cell: ({ draft }) => draft?.reason ?? "" },
];

function outcomeText({ draft }: AuditRecord): string {
  const outcome = draft?.outcome ?? RecordOutcome.UNSPECIFIED;
  return outcome === RecordOutcome.UNSPECIFIED ? "" : enumText(RecordOutcomeSchema, outcome);
}

/** `client/operator` of `spiffe://domain/client/operator`. */
function shortUri(uri: string): string {
  return uri.replace(/^spiffe:\/\/[^/]+\//, "");
}
