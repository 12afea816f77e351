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
  /** Run as the workload's user before the guest is saved, and before its port answers again; exit code 0 agrees. */
  readonly suspendCommand?: readonly string[];
  readonly resumeCommand?: readonly string[];
  /** File in which the workload keeps its jobs (`agent/jobs-file.ts`). */
  readonly jobsPath?: string;
};

/** `openclaw-emulated` is `openclaw` with more patience for its own helpers, for guests that are emulated; in development only. */
export const imageNames = ["base", "probe", "openclaw", "openclaw-emulated"] as const;
export type ImageName = (typeof imageNames)[number];

export const artifactNames = ["vmlinux", "initrd.cpio", "rootfs.erofs"] as const;
export type ArtifactName = (typeof artifactNames)[number];

/** manifest.json: memory in MiB, digests in hexadecimal. */
export type Manifest = {
  readonly name: ImageName;
  readonly workload: WorkloadManifest;
  readonly minimumMemoryMib: number;
  readonly defaultMemoryMib: number;
  /** How long the workload may take to be healthy; absent: as long as the host allows any. */
  readonly startLimitMs?: number;
  /** Whether its init can wait for its identity, so that guests start from a template. */
  readonly template: boolean;
  readonly sha256: Readonly<Record<ArtifactName, string>>;
};

const gatewayWorkload: WorkloadManifest = {
  command: ["/usr/bin/node", "/opt/workload/workload.js"],
  user: { uid: workloadUser.uid, gid: workloadUser.gid },
  environment: { HOME: workloadUser.home, PATH: "/usr/bin", LANG: "C.UTF-8", NODE_ENV: "production" },
  port: 8080,
  healthPath: "/health",
  configurationPath: "/run/workload/configuration.json",
  jobsPath: "/home/workload/jobs.json",
};

/** The attacker that the host must hold off is root in its guest, with as many files open as it likes. */
const probeWorkload: WorkloadManifest = {
  ...gatewayWorkload,
  command: ["/usr/bin/sh", "-c", "ulimit -n 32768; exec /usr/bin/node /opt/workload/workload.js"],
  user: { uid: 0, gid: 0 },
  environment: { ...gatewayWorkload.environment, HOME: "/root" },
  jobsPath: "/root/jobs.json",
};

/** Ready, and not only alive: its channels and helpers are up. */
const openClawWorkload: WorkloadManifest = {
  ...gatewayWorkload,
  healthPath: "/readyz",
  jobsPath: "/home/workload/.openclaw/cron/jobs.json",
};

type Needs = Pick<Manifest, "workload" | "minimumMemoryMib" | "defaultMemoryMib" | "startLimitMs">;

const small = { minimumMemoryMib: 192, defaultMemoryMib: 256 };
const large = { minimumMemoryMib: 1536, defaultMemoryMib: 2048 };

/** Every image runs one file, /opt/workload/workload.js; what it is differs, who runs it, and what it takes. */
export const needs: Readonly<Record<ImageName, Needs>> = {
  base: { workload: gatewayWorkload, ...small },
  probe: { workload: probeWorkload, ...small },
  openclaw: { workload: openClawWorkload, ...large, startLimitMs: 120_000 },
  "openclaw-emulated": { workload: openClawWorkload, ...large, startLimitMs: 900_000 },
};

export function createManifest(name: ImageName, sha256: Record<ArtifactName, string>): Manifest {
  return { name, ...needs[name], template: true, sha256 };
}
