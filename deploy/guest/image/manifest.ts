import { workloadUser } from "./contents.ts";

/** How the agent starts a workload, and where the workload finds its non-secret configuration in the guest. */
export type WorkloadManifest = {
  readonly command: readonly string[];
  readonly user: { readonly uid: number; readonly gid: number };
  readonly environment: Readonly<Record<string, string>>;
  readonly port: number;
  readonly healthPath: string;
  /** JSON `{tenant, vmId, generation}`, written by the agent before the workload starts, readable by its user. */
  readonly configurationPath: string;
};

export const imageNames = ["base", "probe"] as const;
export type ImageName = (typeof imageNames)[number];

export const artifactNames = ["vmlinux", "initrd.cpio", "rootfs.erofs"] as const;
export type ArtifactName = (typeof artifactNames)[number];

/** manifest.json: memory in MiB, digests in hexadecimal. */
export type Manifest = {
  readonly name: ImageName;
  readonly workload: WorkloadManifest;
  readonly minimumMemoryMib: number;
  readonly defaultMemoryMib: number;
  readonly sha256: Readonly<Record<ArtifactName, string>>;
};

const gatewayWorkload: WorkloadManifest = {
  command: ["/usr/bin/node", "/opt/workload/workload.js"],
  user: { uid: workloadUser.uid, gid: workloadUser.gid },
  environment: { HOME: workloadUser.home, PATH: "/usr/bin", LANG: "C.UTF-8", NODE_ENV: "production" },
  port: 8080,
  healthPath: "/health",
  configurationPath: "/run/workload/configuration.json",
};

/** The attacker that the host must hold off is root in its guest, with as many files open as it likes. */
const probeWorkload: WorkloadManifest = {
  ...gatewayWorkload,
  command: ["/usr/bin/sh", "-c", "ulimit -n 32768; exec /usr/bin/node /opt/workload/workload.js"],
  user: { uid: 0, gid: 0 },
  environment: { ...gatewayWorkload.environment, HOME: "/root" },
};

/** Every image runs one file, /opt/workload/workload.js; what it is differs, and who runs it. */
export function workloadOf(image: ImageName): WorkloadManifest {
  return image === "probe" ? probeWorkload : gatewayWorkload;
}

export function createManifest(name: ImageName, sha256: Record<ArtifactName, string>): Manifest {
  return { name, workload: workloadOf(name), minimumMemoryMib: 192, defaultMemoryMib: 256, sha256 };
}
