/** What is being done with backups, for whoever wants to see how far it is. Lost with the process, as the work is. */
export interface BackupWork {
  readonly kind: "create" | "restore" | "import";
  readonly totalBytes: number;
  readonly startTimeMs: number;
  readonly doneBytes: number;
}

export interface WorkUnderWay extends Disposable {
  add(bytes: number): void;
}

export interface WorkList {
  /** Is listed with each of these tenants until it is disposed of. */
  begin(vmIds: readonly string[], kind: BackupWork["kind"], totalBytes: number): WorkUnderWay;
  of(vmId: string): readonly BackupWork[];
}

export function createWorkList(now: () => number): WorkList {
  const underWay = new Set<BackupWork & { readonly vmIds: readonly string[]; doneBytes: number }>();
  return {
    begin(vmIds, kind, totalBytes) {
      const work = { vmIds, kind, totalBytes, startTimeMs: now(), doneBytes: 0 };
      underWay.add(work);
      return {
        add: (bytes) => {
          work.doneBytes += bytes;
        },
        [Symbol.dispose]: () => void underWay.delete(work),
      };
    },
    of: (vmId) => [...underWay].filter((work) => work.vmIds.includes(vmId)),
  };
}
