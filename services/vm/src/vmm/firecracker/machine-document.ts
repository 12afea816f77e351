import { z } from "zod";
import { formatKernelArguments, type KernelArguments } from "../../launcher/kernel-arguments.ts";
import { vmmFail } from "../port.ts";
import type {
  DriveBody,
  DriveId,
  RateLimiter,
  SnapshotCreateBody,
  SnapshotLoadBody,
  TokenBucket,
} from "./api-bodies.ts";
import type { BootCall } from "./api-client.ts";

/** Where things are inside the jail; the launcher puts them there under these names. */
export const jailPaths = {
  kernel: "/vmlinux",
  initrd: "/initrd.cpio",
  rootfs: "/rootfs.erofs",
  overlay: "/overlay.ext4",
  identity: "/identity.img",
  log: "/log.fifo",
  metrics: "/metrics.fifo",
  serial: "/serial.fifo",
  memory: "/saved/memory",
  state: "/saved/state",
} as const;

/** Strict: there is no CPU template (FC-17), and whoever asks for one is refused rather than ignored. */
const machineSchema = z.strictObject({
  vcpuCount: z
    .int()
    .min(1)
    .max(32)
    .refine((count) => count === 1 || count % 2 === 0),
  memoryMib: z.int().min(64).max(1_048_576),
});

/** What differs between one machine and another. */
export type MachineSpec = Readonly<z.infer<typeof machineSchema>>;

/** Throws INVALID_REQUEST and names the field. */
export function requireMachineSpec(spec: MachineSpec): MachineSpec {
  const checked = machineSchema.safeParse(spec);
  if (checked.success) return checked.data;
  const { path = [], code = "", message = "" } = checked.error.issues[0] ?? {};
  const field = path.join(".") || (code === "unrecognized_keys" ? message : "");
  throw vmmFail("INVALID_REQUEST", `a machine cannot be made so: ${field}`, { metadata: { field } });
}

const diskLimiter: RateLimiter = {
  bandwidth: { size: 52_428_800, one_time_burst: 0, refill_time: 1_000 },
  ops: { size: 5_000, refill_time: 1_000 },
};
/** 10 Mbit/s and 1,000 packets/s each way. */
const networkLimiter: RateLimiter = {
  bandwidth: { size: 1_250_000, one_time_burst: 0, refill_time: 1_000 },
  ops: { size: 1_000, refill_time: 1_000 },
};
/** 10 kB/s: the guest needs seeds, and every request costs host entropy and memory. */
const entropyLimiter: RateLimiter = { bandwidth: { size: 1_000, one_time_burst: 0, refill_time: 100 } };
const serialLimiter: TokenBucket = { size: 16_384, one_time_burst: 65_536, refill_time: 1_000 };

/** A guest that panics ends its VMM; there is no console and no IPv6. */
const kernelArguments: KernelArguments = {
  reboot: "k",
  panic: -1,
  quiet: true,
  "8250.nr_uarts": 0,
  "ipv6.disable": 1,
  "i8042.noaux": true,
  "i8042.nomux": true,
  "i8042.dumbkbd": true,
};

/** Where the VMM writes. First, so that it can say why it refuses what follows; lost in a snapshot, so the same before a load. */
export function outputCalls(): readonly BootCall[] {
  return [
    {
      call: "putLogger",
      body: { log_path: jailPaths.log, level: "Warning", show_level: true, show_log_origin: false },
    },
    { call: "putMetrics", body: { metrics_path: jailPaths.metrics } },
    { call: "putSerial", body: { serial_out_path: jailPaths.serial, rate_limiter: serialLimiter } },
  ];
}

/** Everything that makes the machine, in the order in which it is sent: the drives' order is their name in the guest. */
export function bootCalls(spec: MachineSpec): readonly BootCall[] {
  const { vcpuCount, memoryMib } = requireMachineSpec(spec);
  return [
    ...outputCalls(),
    {
      call: "putMachineConfiguration",
      body: {
        ...{ vcpu_count: vcpuCount, mem_size_mib: memoryMib },
        ...{ smt: false, track_dirty_pages: false, huge_pages: "None" },
      },
    },
    {
      call: "putBootSource",
      body: {
        kernel_image_path: jailPaths.kernel,
        initrd_path: jailPaths.initrd,
        boot_args: formatKernelArguments(kernelArguments),
      },
    },
    { call: "putRootDrive", body: drive("rootfs", jailPaths.rootfs, { is_root_device: true, is_read_only: true }) },
    // Writeback: the guest's flushes reach the disk, or its file system would not survive a host crash.
    { call: "putOverlayDrive", body: drive("overlay", jailPaths.overlay, { cache_type: "Writeback" }) },
    { call: "putIdentityDrive", body: drive("cfg", jailPaths.identity, { is_read_only: true }) },
    {
      call: "putNetworkInterface",
      body: {
        ...{ iface_id: "eth0", host_dev_name: "tap0", guest_mac: "06:00:0a:4d:00:02" },
        ...{ rx_rate_limiter: networkLimiter, tx_rate_limiter: networkLimiter },
      },
    },
    { call: "putEntropy", body: { rate_limiter: entropyLimiter } },
  ];
}

function drive<Id extends DriveId>(id: Id, path: string, differences: Partial<DriveBody>): DriveBody<Id> {
  const plain = { is_root_device: false, is_read_only: false, cache_type: "Unsafe", io_engine: "Sync" } as const;
  return { ...plain, ...differences, drive_id: id, path_on_host: path, rate_limiter: diskLimiter };
}

/** What GET /vm/config has to say after those calls. Anything that it says beyond this is a fault. */
export function expectedConfiguration(calls: readonly BootCall[]): Readonly<Record<string, unknown>> {
  const bodyOf = (name: BootCall["call"]) => calls.find(({ call }) => call === name)?.body;
  return {
    "boot-source": bodyOf("putBootSource"),
    "machine-config": bodyOf("putMachineConfiguration"),
    drives: [bodyOf("putRootDrive"), bodyOf("putOverlayDrive"), bodyOf("putIdentityDrive")],
    "network-interfaces": [bodyOf("putNetworkInterface")],
    entropy: bodyOf("putEntropy"),
  };
}

/**
 * The same for a machine that comes out of a snapshot, and what is left of its account to compare: boot source and SMT are not kept in
 * a snapshot, so what is said of them then means nothing.
 */
export function expectedAfterLoad(calls: readonly BootCall[], actual: unknown): { expected: unknown; actual: unknown } {
  const withoutLost = (document: unknown): unknown => {
    const { "boot-source": _source, "machine-config": machine, ...rest } = document as Record<string, unknown>;
    const { smt: _smt, ...kept } = (machine ?? {}) as Record<string, unknown>;
    return { ...rest, "machine-config": kept };
  };
  return { expected: withoutLost(expectedConfiguration(calls)), actual: withoutLost(actual) };
}

export const snapshotCreation: SnapshotCreateBody = {
  snapshot_type: "Full",
  snapshot_path: jailPaths.state,
  mem_file_path: jailPaths.memory,
};

export const snapshotLoad: SnapshotLoadBody = {
  snapshot_path: jailPaths.state,
  mem_backend: { backend_type: "File", backend_path: jailPaths.memory },
  resume_vm: false,
};
