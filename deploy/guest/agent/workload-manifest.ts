/** How an image wants its workload run: the `workload` part of its manifest. Written by the image builder, so trusted. */
export type WorkloadManifest = {
  readonly command: readonly string[];
  readonly user: { readonly uid: number; readonly gid: number };
  readonly environment: Readonly<Record<string, string>>;
  readonly port: number;
  readonly healthPath: string;
  readonly configurationPath: string;
};
