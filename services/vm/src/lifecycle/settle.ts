import { settleRestore } from "../backups/restore-over.ts";
import { settleBackup } from "../backups/settle-backup.ts";
import type { OpenOperation, OperationKind } from "./journal.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { settleSleep } from "./settle-sleep.ts";

type Settle = (life: Lifecycle, operation: OpenOperation) => Promise<void>;

/** What brings an operation to its end that nobody goes on with; a spawn and an eviction, which are not here, are removed. Safe to repeat. */
export const settlers: Partial<Record<OperationKind, Settle>> = {
  suspend: settleSleep,
  resume: settleSleep,
  backup: settleBackup,
  restore: settleRestore,
  replace: settleRestore,
};
