import type { Command } from "./command.ts";
import { auditCheckpoint } from "./commands/audit-checkpoint.ts";
import { auditExport } from "./commands/audit-export.ts";
import { auditQuery } from "./commands/audit-query.ts";
import { auditTail } from "./commands/audit-tail.ts";
import { auditVerify } from "./commands/audit-verify.ts";
import { backupCreate } from "./commands/backup-create.ts";
import { backupExport } from "./commands/backup-export.ts";
import { backupImport } from "./commands/backup-import.ts";
import { backupLs } from "./commands/backup-ls.ts";
import { backupRm } from "./commands/backup-rm.ts";
import { clientIssue } from "./commands/client-issue.ts";
import { clientLs } from "./commands/client-ls.ts";
import { clientRevoke } from "./commands/client-revoke.ts";
import { completionCommand } from "./commands/completion.ts";
import { egress } from "./commands/egress.ts";
import { evict } from "./commands/evict.ts";
import { exec } from "./commands/exec.ts";
import { get } from "./commands/get.ts";
import { hold } from "./commands/hold.ts";
import { hostCheck } from "./commands/host-check.ts";
import { hostDrain } from "./commands/host-drain.ts";
import { hostGet } from "./commands/host-get.ts";
import { hostUndrain } from "./commands/host-undrain.ts";
import { logs } from "./commands/logs.ts";
import { ls } from "./commands/ls.ts";
import { release } from "./commands/release.ts";
import { repair } from "./commands/repair.ts";
import { restore } from "./commands/restore.ts";
import { resume } from "./commands/resume.ts";
import { routes } from "./commands/routes.ts";
import { secretBind } from "./commands/secret-bind.ts";
import { secretLs } from "./commands/secret-ls.ts";
import { secretPut } from "./commands/secret-put.ts";
import { secretRm } from "./commands/secret-rm.ts";
import { secretRotateRoot } from "./commands/secret-rotate-root.ts";
import { spawn } from "./commands/spawn.ts";
import { suspend } from "./commands/suspend.ts";
import { token } from "./commands/token.ts";
import { top } from "./commands/top.ts";
import { update } from "./commands/update.ts";
import { watch } from "./commands/watch.ts";

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  ...[spawn, ls, get, evict, suspend, resume, repair, hold, release],
  ...[exec, logs, watch, top, egress, update, token],
  ...[backupCreate, backupLs, backupRm, backupExport, backupImport, restore],
  ...[secretPut, secretLs, secretRm, secretBind, secretRotateRoot],
  ...[clientIssue, clientLs, clientRevoke],
  ...[hostGet, hostCheck, hostDrain, hostUndrain, routes],
  ...[auditQuery, auditTail, auditExport, auditCheckpoint, auditVerify],
  completionCommand(() => commands),
];
