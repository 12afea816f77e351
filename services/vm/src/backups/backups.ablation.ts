/** Takes one control of backups and restores away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const [creating, restoring, importing, calls] = [
  "services/vm/src/backups/create-backup.test.ts",
  "services/vm/src/backups/restore.test.ts",
  "services/vm/src/backups/import-backup.test.ts",
  "services/vm/src/rpc/backups.test.ts",
];

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, removal: Removal, name: string, tests: string])[] = [
  [
    "the pause while the disk is copied",
    {
      file: "services/vm/src/backups/copy-disk.ts",
      find: '    await journal.step(tenant, "pause-guest", () => parts.vmm.pause(vmId));\n',
      replace: "",
    },
    "the guest is asked, then paused",
    creating,
  ],
  [
    "the release of the guest",
    {
      file: "services/vm/src/backups/copy-disk.ts",
      find: "    await releaseGuest(life, tenant, evicted);\n",
      replace: "",
    },
    "a backup of a running tenant is one sealed file",
    creating,
  ],
  [
    "the release of a guest after a crash",
    {
      file: "services/vm/src/lifecycle/settle.ts",
      find: "  backup: settleBackup,\n",
      replace: "  backup: async () => undefined,\n",
    },
    "vm dying when copy-disk of a backup is started leaves a tenant that goes on, and no half backup",
    creating,
  ],
  [
    "the word to a guest that did not hear it",
    { file: "services/vm/src/backups/copy-disk.ts", find: "if (!isLast) throw error;", replace: "" },
    "a guest that does not hear that the copy is made",
    creating,
  ],
  [
    "the bound of that",
    {
      file: "services/vm/src/backups/settle-backup.ts",
      find: "life.now() - operation.startTimeMs > releaseAgainMs",
      replace: "false",
    },
    "a guest that does not hear it for four minutes",
    creating,
  ],
  [
    "the row of the request that died before its answer",
    { file: "services/vm/src/backups/create-backup.ts", find: "if (made !== undefined) return made;", replace: "" },
    "the same request is the same backup",
    creating,
  ],
  [
    "an eviction's end of a backup that is sealed",
    {
      file: "services/vm/src/lifecycle/operations.ts",
      find: "[tenant.vmId, backupTurn(tenant.vmId)]",
      replace: "[tenant.vmId]",
    },
    "an eviction that comes when seal-disk of a backup begins ends it and leaves nothing",
    creating,
  ],
  [
    "retention",
    { file: "services/vm/src/backups/create-backup.ts", find: "      await dropExpired(life);\n", replace: "" },
    "the oldest go when there are more than are kept",
    creating,
  ],
  [
    "the room of the host",
    { file: "services/vm/src/backups/room.ts", find: "if (wanted.diskMib > diskLeft)", replace: "if (false)" },
    "a host without room refuses a backup before",
    creating,
  ],
  [
    "the bound of all backups",
    { file: "services/vm/src/backups/room.ts", find: "if (wanted.sealedMib > backupsLeft)", replace: "if (false)" },
    "a host without room refuses a backup before",
    creating,
  ],
  [
    "zeros that nobody can give back",
    {
      file: "services/vm/src/backups/open-backup.ts",
      find: "Buffer.alloc(chunkBytes + 1).subarray(0, chunkBytes)",
      replace: "Buffer.alloc(chunkBytes)",
    },
    "no two pieces of a disk are the same memory",
    restoring,
  ],
  [
    "the digest of the header",
    { file: "services/vm/src/backups/open-backup.ts", find: "backupIdOf(header) !== backup.backupId || ", replace: "" },
    "another backup of the tenant in the place",
    restoring,
  ],
  [
    "the end of the memory with the replacement",
    {
      file: "services/vm/src/lifecycle/journal.ts",
      find: "        sealedStates.delete(vmId);\n        end",
      replace: "        end",
    },
    "restored in its own place a suspended tenant boots from the backup under its next generation",
    restoring,
  ],
  [
    "the way back of a restore that is not whole",
    {
      file: "services/vm/src/lifecycle/settle.ts",
      find: "  restore: settleRestore,\n",
      replace: "  restore: async () => undefined,\n",
    },
    "vm dying when write-disk of a restore is started leaves the tenant as it was or restored, never between",
    restoring,
  ],
  [
    "the way on of a restore that is whole",
    {
      file: "services/vm/src/lifecycle/settle.ts",
      find: "  replace: settleRestore,\n",
      replace: "  replace: async () => undefined,\n",
    },
    "vm dying when replace-disk of a restore is started leaves the tenant as it was or restored, never between",
    restoring,
  ],
  [
    "the disk that is dropped when a restore goes back",
    {
      file: "services/vm/src/backups/restore-over.ts",
      find: "  await life.parts.vmm.stop(tenant.vmId);\n",
      replace: "",
    },
    "a failed tenant whose restore fails is failed",
    restoring,
  ],
  [
    "the removal of backups with their tenant",
    {
      file: "services/vm/src/lifecycle/removal.ts",
      find: 'name: "backups", madeBy: [], remove: () => files.remove(vmId)',
      replace: 'name: "backups", madeBy: [], remove: async () => undefined',
    },
    "an eviction takes the backups with it",
    restoring,
  ],
  [
    "the tenant whose file it is",
    {
      file: "services/vm/src/backups/import-backup.ts",
      find: "if (claimed.vmId !== vmId) throw keyGone(name);",
      replace: "",
    },
    "after the eviction of its tenant a file is refused",
    importing,
  ],
  [
    "the opening of an imported file",
    {
      file: "services/vm/src/backups/import-backup.ts",
      find: "return await openSet(path, key, look);",
      replace: "return await Promise.resolve(claimed).finally(() => void key);",
    },
    "a file that was changed, cut or continued",
    importing,
  ],
  [
    "the announced size",
    { file: "services/vm/src/backups/import-backup.ts", find: "if (received !== sizeBytes)", replace: "if (false)" },
    "a sender who sends more or less",
    importing,
  ],
  [
    "the drafts that are in use",
    { file: "services/vm/src/backups/backup-files.ts", find: "!drafts.has(name) && ", replace: "" },
    "what is being sent is no backup",
    importing,
  ],
  [
    "audit before a backup is handed out",
    {
      file: "services/vm/src/audit-policy.ts",
      find: '      ExportBackup: { kind: "widening", describe: namedBackup },\n',
      replace: "",
    },
    "without audit nothing is backed up",
    calls,
  ],
  [
    "the record of a memory that a restore gives up",
    {
      file: "services/vm/src/backups/restore-over.ts",
      find: 'if (given !== undefined) recordSeal(life, "ConsumeState", restoring, given);',
      replace: "",
    },
    "the memory that a restore gives up is used up in the audit log",
    restoring,
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name, file]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
