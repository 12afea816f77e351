import type { Backup } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Words } from "./command.ts";
import { bytesText, momentText } from "./show.ts";
import { type Column, renderFields } from "./table.ts";

/** Columns of a list of backups. */
export const backupColumns: ReadonlyArray<Column<Backup>> = [
  { heading: "BACKUP", cell: ({ backupId }) => backupId },
  { heading: "CREATED", cell: ({ createTime }) => momentText(createTime) },
  { heading: "GEN", cell: ({ generation }) => String(generation), isRight: true },
  { heading: "DISK", cell: ({ diskMib }) => `${diskMib} MiB`, isRight: true },
  { heading: "SIZE", cell: ({ sizeBytes }) => bytesText(sizeBytes), isRight: true },
];

/** One backup in full. */
export function backupText(backup: Backup | undefined): string {
  if (backup === undefined) return "";
  return renderFields([
    ["backup", backup.backupId],
    ["tenant", backup.tenant],
    ["generation", String(backup.generation)],
    ["disk", `${backup.diskMib} MiB`],
    ["size", bytesText(backup.sizeBytes)],
    ["created", momentText(backup.createTime)],
  ]);
}

const maxTimeoutSeconds = 86_400;
/** A large disk takes longer than other calls: two hours, unless the command was given a limit. */
export function backupTimeoutMs(words: Words): number {
  return (words.count("timeout", maxTimeoutSeconds) ?? 7_200) * 1000;
}
