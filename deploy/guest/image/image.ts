import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installOpenClaw } from "../openclaw/install.ts";
import { fetchPackage } from "./archive.ts";
import { bundleProgram, type Program } from "./bundle.ts";
import { extractVmlinux } from "./bzimage.ts";
import { attackerFiles, packageFiles } from "./contents.ts";
import { buildInitramfs } from "./initramfs.ts";
import { inputsDigest } from "./inputs-digest.ts";
import { type Lock, readLock, sha256Hex } from "./lock.ts";
import { type ArtifactName, artifactNames, createManifest, type ImageName, needs } from "./manifest.ts";
import { nodeRuntime } from "./node-runtime.ts";
import { assembleTree, type ImageFiles, packTree } from "./rootfs.ts";
import { standbyCallsProgram } from "./standby-calls.ts";
import { runTool } from "./tool.ts";
import { unlockTerminalProgram } from "./unlock-terminal.ts";

export type BuildOptions = {
  /** Where `<image>/` goes. */
  readonly out: string;
  /** Root of the checkout: its .cache/guest/inputs keeps downloaded packages. */
  readonly repository: string;
  readonly force: boolean;
  readonly progress: (line: string) => void;
};

const stampName = ".inputs-digest";

async function extractPackages(lock: Lock, options: BuildOptions, target: string): Promise<void> {
  const inputs = join(options.repository, ".cache/guest/inputs");
  await mkdir(inputs, { recursive: true });
  for (const entry of lock.packages) {
    options.progress(`${entry.name} ${entry.version}`);
    const path = await fetchPackage(inputs, entry);
    const name = entry.name.startsWith("linux-image-") ? "kernel" : entry.name;
    await runTool(["dpkg-deb", "-x", path, join(target, name)]);
  }
}

const workloadPrograms: Readonly<Record<ImageName, Program>> = {
  base: "gateway/main.ts",
  probe: "probe/main.ts",
  openclaw: "openclaw/main.ts",
  "openclaw-emulated": "openclaw/main.ts",
};

async function filesOf(image: ImageName, lock: Lock, work: string): Promise<ImageFiles> {
  const packaged = image === "probe" ? [...packageFiles, ...attackerFiles] : packageFiles;
  const programs = [
    { path: "usr/bin/node", mode: 0o755, content: await nodeRuntime(lock) },
    // The directory is 0700: the workload's user can read neither the agent nor how it decides.
    { path: "opt/agent/agent.js", mode: 0o400, content: await bundleProgram("agent/main.ts") },
    { path: "opt/agent/standby-calls", mode: 0o500, content: standbyCallsProgram() },
    { path: "opt/agent/unlock-terminal", mode: 0o500, content: unlockTerminalProgram() },
    { path: "opt/agent/workload.json", mode: 0o400, content: JSON.stringify(needs[image].workload) },
    { path: "opt/workload/workload.js", mode: 0o444, content: await bundleProgram(workloadPrograms[image]) },
  ];
  return { packaged, programs, trees: await treesOf(image, join(work, "npm")) };
}

/** What the workload's program loads at run time and cannot be bundled into it. */
async function treesOf(image: ImageName, target: string): Promise<ImageFiles["trees"]> {
  if (!image.startsWith("openclaw")) return [];
  await installOpenClaw(target, { emulated: image === "openclaw-emulated" });
  return [{ from: join(target, "node_modules"), to: "opt/workload/node_modules" }];
}

async function buildArtifacts(
  image: ImageName,
  lock: Lock,
  options: BuildOptions,
  work: string,
  target: string,
): Promise<void> {
  const extracted = join(work, "packages");
  await mkdir(extracted);
  await extractPackages(lock, options, extracted);
  options.progress(`${image}: kernel ${lock.kernelRelease}`);
  const bzImage = await readFile(join(extracted, "kernel/boot", `vmlinuz-${lock.kernelRelease}`));
  await writeFile(join(target, "vmlinux"), extractVmlinux(bzImage));
  options.progress(`${image}: initramfs`);
  const modules = join(extracted, "kernel/lib/modules", lock.kernelRelease);
  await writeFile(
    join(target, "initrd.cpio"),
    await buildInitramfs(join(extracted, "busybox-static/bin/busybox"), modules),
  );
  options.progress(`${image}: root file system`);
  const root = join(work, "root");
  await assembleTree(root, extracted, await filesOf(image, lock, work));
  await packTree(root, join(target, "rootfs.erofs"));
}

async function writeManifest(image: ImageName, target: string): Promise<void> {
  const digests = new Map<ArtifactName, string>();
  for (const name of artifactNames) {
    digests.set(name, sha256Hex(await readFile(join(target, name))));
    await chmod(join(target, name), 0o444);
  }
  const manifest = createManifest(image, Object.fromEntries(digests) as Record<ArtifactName, string>);
  await writeFile(join(target, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o444 });
}

async function isUpToDate(directory: string, digest: string): Promise<boolean> {
  try {
    return (await readFile(join(directory, stampName), "utf8")) === digest;
  } catch {
    return false; // never built, or built by hand
  }
}

/** Builds one image into `<out>/<image>`, replacing what is there in one step. Does nothing when its inputs have not changed. */
export async function buildImage(image: ImageName, options: BuildOptions): Promise<void> {
  const target = join(options.out, image);
  const digest = await inputsDigest(options.repository);
  if (!options.force && (await isUpToDate(target, digest))) {
    options.progress(`${image} is up to date`);
    return;
  }
  const lock = await readLock();
  await mkdir(options.out, { recursive: true });
  const incoming = await mkdtemp(join(options.out, `.${image}-`));
  const work = await mkdtemp(join(tmpdir(), "lobsterd-guest-"));
  try {
    await buildArtifacts(image, lock, options, work, incoming);
    await writeManifest(image, incoming);
    await writeFile(join(incoming, stampName), digest);
    await chmod(incoming, 0o755);
    await rm(target, { recursive: true, force: true });
    await rename(incoming, target);
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(incoming, { recursive: true, force: true });
  }
  options.progress(`${image} is in ${target}`);
}
