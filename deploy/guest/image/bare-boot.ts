import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { mappingBytes, putDiskMapping } from "@lobsterd/vm/guest/disk-mapping.ts";
import { diskKeyBytes } from "@lobsterd/vm/launcher/disk-cipher.ts";
import { createOverlay } from "@lobsterd/vm/launcher/overlay.ts";
import { identityDriveBytes } from "@lobsterd/vm/launcher/protocol.ts";
import { type Authority, createAuthority, type Leaf } from "./boot-authority.ts";
import { agentPort, callFront, frontPort } from "./boot-client.ts";
import { type BootNetwork, createBootNetwork, guestMac, tapName } from "./boot-network.ts";

export const bootTrustDomain = "bare-boot.test";
const diskMib = 64;

/** What a bare boot is made of; the jailed boot of services/vm has the same machine, kernel arguments and order of disks. */
export type MachineFiles = {
  /** Directory with vmlinux, initrd.cpio and rootfs.erofs. */
  readonly image: string;
  readonly overlay: string;
  readonly identityDrive: string;
  readonly memoryMib: number;
  /** Where the serial console goes; without it there is none, which boots about 0.6 s faster. */
  readonly consoleLog?: string;
  readonly translationCacheMib: number;
};

/**
 * QEMU throws all translated code away when this is full. The kernel, the agent and the workload need about 100 MiB; with less, the
 * second Node costs as much processor time as the first one (measured: 2.0 s at 32 MiB, 0.7 s at 128 MiB).
 */
export const defaultTranslationCacheMib = 128;

/**
 * The host's time stamp counter in kHz, which under TCG is the guest's. Without it the guest calibrates its counter against a
 * timer that microvm does not have, and on a busy host hangs for ever.
 */
export async function hostTscKhz(): Promise<number> {
  const mhz = /^cpu MHz\s*:\s*([0-9.]+)$/m.exec(await readFile("/proc/cpuinfo", "utf8"))?.[1];
  if (mhz === undefined) throw new Error("/proc/cpuinfo has no cpu MHz");
  return Math.round(Number.parseFloat(mhz) * 1000);
}

/** QEMU's command line for a guest on `tap0` of the namespace it is started in. */
export function machineArguments(files: MachineFiles, tscKhz: number): [string, ...string[]] {
  const serial = files.consoleLog !== undefined;
  const console = serial ? "console=ttyS0 " : "quiet 8250.nr_uarts=0 ";
  const disk = (name: string, path: string, readOnly: boolean) => [
    "-blockdev",
    `driver=raw,node-name=${name},read-only=${readOnly ? "on" : "off"},file.driver=file,file.filename=${path}`,
    "-device",
    `virtio-blk-device,drive=${name}`,
  ];
  return [
    "qemu-system-x86_64",
    ...["-M", `microvm,rtc=on,pit=off,pic=off,isa-serial=${serial ? "on" : "off"}`],
    ...[
      "-accel",
      `tcg,tb-size=${files.translationCacheMib}`,
      "-cpu",
      "max",
      "-smp",
      "1",
      "-m",
      String(files.memoryMib),
    ],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"],
    ...["-serial", serial ? `file:${files.consoleLog}` : "none"],
    ...["-kernel", join(files.image, "vmlinux"), "-initrd", join(files.image, "initrd.cpio")],
    ...["-append", `panic=-1 ${console}tsc_early_khz=${tscKhz} tsc=reliable`],
    ...disk("root", join(files.image, "rootfs.erofs"), true),
    ...disk("overlay", files.overlay, false),
    ...disk("identity", files.identityDrive, true),
    ...["-netdev", `tap,id=net,ifname=${tapName},script=no,downscript=no`],
    ...["-device", `virtio-net-device,netdev=net,mac=${guestMac}`],
  ];
}

export type BootIdentity = {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
  readonly hostNames: readonly string[];
  readonly resolvers: readonly string[];
  readonly expectInjection: boolean;
  readonly traceparent?: string;
};

/** What each service calls the agent with, beside its certificate. */
export type AgentTokens = { readonly vm: string; readonly secrets: string };

/** The identity drive's bytes but for what opens the disk: one JSON document padded with zero bytes. */
export function identityDrive(identity: BootIdentity, leaf: Leaf, platformCaPem: string, tokens: AgentTokens): Buffer {
  const digest = (token: string) => createHash("sha256").update(token).digest("base64");
  const document = {
    version: 1,
    ...identity,
    trustDomain: bootTrustDomain,
    ...leaf,
    platformCaPem,
    tokenDigests: { vm: digest(tokens.vm), secrets: digest(tokens.secrets) },
    hostTimeMs: Date.now(),
    seedBase64: randomBytes(64).toString("base64"),
  };
  const drive = Buffer.alloc(identityDriveBytes);
  const written = drive.write(JSON.stringify(document));
  if (written > identityDriveBytes - mappingBytes) throw new Error("identity does not fit its drive");
  return drive;
}

/** The same drive, padded with zero bytes, for a disk of this key; undefined: for a plain one. */
export function withDisk(drive: Uint8Array, diskKey: Uint8Array | undefined): Buffer {
  const changed = Buffer.alloc(identityDriveBytes);
  changed.set(drive.subarray(0, identityDriveBytes - mappingBytes));
  if (diskKey !== undefined) putDiskMapping(changed, diskKey, diskMib);
  return changed;
}

/** A guest that boots without a stack around it. */
export type BareGuest = {
  readonly network: BootNetwork;
  readonly process: ChildProcess;
  readonly identity: BootIdentity;
  /** Signs services and callers. */
  readonly platform: Authority;
  readonly tokens: AgentTokens;
  /** Signs guests. */
  readonly guests: Authority;
  readonly directory: string;
  /** The tenant's disk on the host, its key, and the drive that brings it: between two boots all of them can be changed. */
  readonly disk: { readonly path: string; readonly key: Buffer; readonly drivePath: string; readonly drive: Buffer };
  /** The guest's private key in PEM, which nothing in the guest but its agent may ever see. */
  readonly privateKeyPem: string;
  /** performance.now() at the start of QEMU. */
  readonly startedAtMs: number;
  /** Kills the machine and starts another on the same disks, network and identity, with more arguments. */
  startAgain(extraArguments: readonly string[]): Promise<void>;
  /** Ends the machine and removes its namespace and files; safe to repeat. */
  stop(): Promise<void>;
};

export type BareBootOptions = {
  /** Directory of the built image. */
  readonly image: string;
  readonly memoryMib?: number;
  /** DNS servers that the guest is told of; none by default. */
  readonly resolvers?: readonly string[];
  readonly expectInjection?: boolean;
  readonly traceparent?: string;
  readonly consoleLog?: string;
  readonly translationCacheMib?: number;
  /** Replaces the identity document, to see what a guest does without one. */
  readonly identityDrive?: Uint8Array;
  /** Behind QEMU's own; `{directory}` in one of them is the guest's. */
  readonly extraArguments?: readonly string[];
};

/** Starts QEMU on an image in a namespace of its own and returns at once: the guest is only beginning to boot. */
export async function startBareGuest(options: BareBootOptions): Promise<BareGuest> {
  const directory = await mkdtemp(join(tmpdir(), "lobsterd-boot-"));
  const platform = await createAuthority("platform");
  const guests = await createAuthority("guests");
  const identity: BootIdentity = {
    tenant: "bare",
    vmId: randomBytes(16).toString("hex"),
    generation: 1,
    hostNames: ["bare.guest.internal", "bare.example.test"],
    resolvers: options.resolvers ?? [],
    expectInjection: options.expectInjection ?? false,
    ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
  };
  const uri = `spiffe://${bootTrustDomain}/guest/${identity.tenant}/${identity.vmId}/${identity.generation}`;
  const leaf = await guests.issue({ uri, dns: [`${identity.tenant}.guest.internal`] });
  const newToken = () => randomBytes(32).toString("base64url");
  const tokens = { vm: newToken(), secrets: newToken() };
  const files: MachineFiles = {
    image: options.image,
    overlay: join(directory, "overlay.ext4"),
    identityDrive: join(directory, "identity.raw"),
    memoryMib: options.memoryMib ?? 256,
    translationCacheMib: options.translationCacheMib ?? defaultTranslationCacheMib,
    ...(options.consoleLog === undefined ? {} : { consoleLog: options.consoleLog }),
  };
  const diskKey = randomBytes(diskKeyBytes);
  await createOverlay({ overlay: files.overlay, overlayCopy: join(directory, "plain.ext4") }, diskMib, 0, diskKey);
  const document = options.identityDrive ?? identityDrive(identity, leaf, platform.certificatePem, tokens);
  const drive = withDisk(document, diskKey);
  await writeFile(files.identityDrive, drive, { mode: 0o600 });
  const argv = machineArguments(files, await hostTscKhz());
  const network = await createBootNetwork(`lobboot-${process.pid}-${randomBytes(2).toString("hex")}`, directory, [
    agentPort,
    frontPort,
  ]);
  let startedAtMs = 0;
  const start = (extra: readonly string[]): ChildProcess => {
    startedAtMs = performance.now();
    const inDirectory = extra.map((argument) => argument.replaceAll("{directory}", directory));
    // `ip netns exec` becomes QEMU, so the child's pid is QEMU's.
    const command = ["netns", "exec", network.name, ...argv, ...inDirectory];
    return spawn("ip", command, { stdio: ["ignore", "ignore", "inherit"] });
  };
  let machine = start(options.extraArguments ?? []);
  const kill = async () => {
    if (machine.exitCode !== null || machine.signalCode !== null) return;
    const ended = once(machine, "exit");
    machine.kill("SIGKILL");
    await ended;
  };
  return {
    network,
    get process() {
      return machine;
    },
    identity,
    platform,
    guests,
    tokens,
    directory,
    disk: { path: files.overlay, key: diskKey, drivePath: files.identityDrive, drive },
    privateKeyPem: leaf.privateKeyPem,
    get startedAtMs() {
      return startedAtMs;
    },
    async startAgain(extra) {
      await kill();
      machine = start(extra);
    },
    async stop() {
      await kill();
      await network.remove();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Waits for the first 200 of `GET /health` on the gateway's port; returns the milliseconds since QEMU was started. */
export async function firstHttpAnswerMs(guest: BareGuest, timeoutMs = 30_000): Promise<number> {
  const caddy = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/caddy` });
  const limit = performance.now() + timeoutMs;
  let last: unknown;
  while (performance.now() < limit) {
    if (guest.process.exitCode !== null) throw new Error(`QEMU ended with ${guest.process.exitCode}`);
    const status = await callFront(guest, { path: "/health", leaf: caddy }).then(
      (answer) => answer.status,
      (error: unknown) => {
        last = error; // closed, refused or silent: not up yet
        return 0;
      },
    );
    if (status === 200) return performance.now() - guest.startedAtMs;
    if (status !== 0) last = new Error(`HTTP status ${status}`);
    await delay(10);
  }
  throw new Error(`no HTTP answer within ${timeoutMs} ms`, { cause: last });
}
