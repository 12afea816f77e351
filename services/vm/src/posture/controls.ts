import type { Control } from "./control.ts";
import { noKnownAdvisory } from "./controls/advisories.ts";
import { connectionsFit } from "./controls/connection-table.ts";
import { cacheFlushedOnEntry, hugePagesNotExecutable, mitigationsOn } from "./controls/cpu-vulnerabilities.ts";
import { timersSlowed, timerThreadsPlaced } from "./controls/guest-timers.ts";
import { kernelCurrent } from "./controls/kernel.ts";
import { localUsersHeld } from "./controls/local-users.ts";
import { memoryErrorsCorrected, nothingSwaps, pagesUnmerged } from "./controls/memory.ts";
import { microcodeCurrent } from "./controls/microcode.ts";
import { architectureSupported, cgroupsUnified } from "./controls/platform.ts";
import { residualRisksAccepted } from "./controls/residual-risks.ts";
import { rootKeyElsewhere } from "./controls/root-key.ts";
import { coreScheduling, smtOff } from "./controls/smt.ts";
import { cpuTemplateSafe, vmmIsBoundary } from "./controls/vmm.ts";

/** Every row of the host's posture, in the order in which it is shown. */
export const controls: readonly Control[] = [
  smtOff,
  pagesUnmerged,
  timerThreadsPlaced,
  timersSlowed,
  connectionsFit,
  kernelCurrent,
  mitigationsOn,
  microcodeCurrent,
  memoryErrorsCorrected,
  nothingSwaps,
  hugePagesNotExecutable,
  coreScheduling,
  residualRisksAccepted,
  localUsersHeld,
  cgroupsUnified,
  architectureSupported,
  cacheFlushedOnEntry,
  vmmIsBoundary,
  cpuTemplateSafe,
  noKnownAdvisory,
  rootKeyElsewhere,
];
