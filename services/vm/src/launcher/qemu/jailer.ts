import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import type { Artifacts } from "../artifacts/artifacts.ts";
import type { Execution } from "../choice/accelerator.ts";
import type { VmmChoice } from "../choice/choose.ts";
import type { LauncherConfig, VmPaths } from "../config.ts";
import { removeTree } from "../files.ts";
import { startJailScript } from "../jail-script.ts";
import type { Jailer } from "../jailer.ts";
import { namespaceNames, run } from "../processes.ts";
import { bootQemu } from "./boot.ts";
import { qemuCommand, socketNames, tscKhzFromCpuinfo } from "./command.ts";

const mib = 1024 * 1024;
const mountPoints = ["usr", "image", "dev", "proc", "run", "old"] as const;

/** All the mounts a VMM sees. Only the overlay, its sockets' directory and the root-owned /dev are writable. */
const mounts = [
  "/ ro,nosuid,nodev,noexec",
  "/dev rw,nosuid,noexec",
  "/image ro,nosuid,nodev,noexec",
  "/overlay.ext4 rw,nosuid,nodev,noexec",
  "/proc rw,nosuid,nodev,noexec,hidepid=invisible,subset=pid",
  "/run rw,nosuid,nodev,noexec",
  "/usr ro,nosuid,nodev",
];
/** A VMM inherits nothing but its start-up monitor and its error output, both sockets of the launcher's. */
const descriptorsUnder = {
  tcg: /^(\/dev\/(null|urandom|net\/tun)|\/image\/[a-z.]+|\/overlay\.ext4|\/identity\.img|socket:\[\d+\]|anon_inode:\S+)$/,
  kvm: /^(\/dev\/(null|urandom|kvm|net\/tun)|\/image\/[a-z.]+|\/overlay\.ext4|\/identity\.img|socket:\[\d+\]|anon_inode:\S+)$/,
} as const;

export interface QemuOptions {
  readonly artifacts: Artifacts;
  /** Of `buildVmmTree`. */
  readonly tree: string;
  readonly choice: Extract<VmmChoice, { vmm: "qemu" }>;
  readonly script?: string;
}

/** QEMU in a jail that jail.sh builds: for development, and for hosts where KVM cannot run guests. */
export async function openQemuJailer(config: LauncherConfig, options: QemuOptions): Promise<Jailer> {
  const { artifacts, tree, choice, script = `${import.meta.dirname}/jail.sh` } = options;
  const { accelerator, reason } = choice;
  const version = /version (\S+)/.exec(await run([config.vmm.binaryPath, "--version"], 5_000))?.[1] ?? "unknown";
  const execution = executionOf(config, accelerator);
  return {
    description: { name: "qemu", version, accelerator, productionBoundary: false, reason },
    offersTemplates: true,
    overheadMib: execution.translationCacheMib + 128,
    channels: {
      api: { name: socketNames.monitor, kind: "socket" },
      state: { name: socketNames.state, kind: "listener" },
      incoming: { name: socketNames.incoming, kind: "socket" },
    },
    hasKernelTimer: false,
    channelsIn: (paths) => `${paths.jail}/run`,
    prepare: (paths) => createJail(paths.jail),
    renew(paths: VmPaths) {
      if (!existsSync(paths.jail)) return createJail(paths.jail); // the host was restarted: jails are on a tmpfs
      removeTree(`${paths.jail}/run`); // sockets of the VMM that ended
      mkdirSync(`${paths.jail}/run`);
    },
    async check(_paths, image) {
      await artifacts.image(image);
      await artifacts.requireTree(tree);
    },
    async build(plan, source, requireMember) {
      const { paths, uid } = plan;
      chownSync(`${paths.jail}/run`, uid, uid);
      chmodSync(`${paths.jail}/run`, 0o700);
      const places = [paths.jail, plan.network, tree, await artifacts.image(plan.image), paths.overlay];
      const blocks = fileSizeBytes(plan.overlayMib) / 512;
      const command = qemuCommand({ ...plan, ...execution, source: typeof source === "string" ? source : "template" });
      const parameters = [...places, String(uid), String(blocks), plan.joinFiles.join(":"), accelerator, ...command];
      const inherited = typeof source === "string" ? undefined : source.template;
      return bootQemu(await startJailScript(script, parameters, requireMember, inherited), source);
    },
    describeJail: (plan) => ({
      root: plan.paths.jail,
      ownNamespaces: namespaceNames,
      boundingCapabilities: "0000000000000000",
      noNewPrivileges: true,
      filteredThreads: "every",
      mounts,
      descriptors: descriptorsUnder[accelerator],
      limits: {
        "open files": "256",
        "core file size": "0",
        "locked memory": "0",
        "file size": String(fileSizeBytes(plan.overlayMib)),
      },
    }),
  };
}

/** What only emulation needs is not there, and not accounted for, under KVM. */
function executionOf(config: LauncherConfig, accelerator: "kvm" | "tcg"): Execution {
  if (accelerator === "kvm") return { accelerator, translationCacheMib: 0, tscKhz: 0 };
  const tscKhz = config.tscKhz ?? tscKhzFromCpuinfo(readFileSync("/proc/cpuinfo", "utf8"));
  return { accelerator, translationCacheMib: config.translationCacheMib, tscKhz };
}

function fileSizeBytes(overlayMib: number): number {
  return (overlayMib + 1) * mib;
}

/** Creates the jail's directory with its mount points, all root's: the VMM can write nothing in its root. Throws when it exists. */
function createJail(jail: string): void {
  mkdirSync(jail, { mode: 0o711 });
  chmodSync(jail, 0o711);
  for (const name of mountPoints) {
    mkdirSync(`${jail}/${name}`);
    chmodSync(`${jail}/${name}`, name === "old" ? 0o700 : 0o755);
  }
  for (const name of ["lib", "lib64"]) symlinkSync(`usr/${name}`, `${jail}/${name}`);
  writeFileSync(`${jail}/overlay.ext4`, "", { flag: "wx", mode: 0o600 });
}
