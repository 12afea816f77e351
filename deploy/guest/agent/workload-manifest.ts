/** How an image wants its workload run: the `workload` part of its manifest. Written by the image builder, so trusted. */
export type WorkloadManifest = {
  readonly command: readonly string[];
  readonly user: { readonly uid: number; readonly gid: number };
  readonly environment: Readonly<Record<string, string>>;
  readonly port: number;
  readonly healthPath: string;
  readonly configurationPath: string;
  /** Run as the workload's user before the guest is saved, and before its port answers again; exit code 0 agrees. */
  readonly suspendCommand?: readonly string[];
  readonly resumeCommand?: readonly string[];
  /** File in which the workload keeps its jobs (`agent/jobs-file.ts`). */
  readonly jobsPath?: string;
};
