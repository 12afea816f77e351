import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import type { VmCgroups } from "../cgroup.ts";
import { removeTree } from "../files.ts";
import { programEnvironment } from "../processes.ts";
import { aliveLine, aliveStatus, probeInitrd } from "./probe-guest.ts";

/** A guest that shows no life within this is dead: real ones take a third of a second under KVM, and three seconds emulated. */
export const probeLimitMs = 5_000;
const probeMemoryMib = 128;
const maxOutputBytes = 64 * 1024;
const maxDetailLength = 300;

/** One VMM with its probe guest. Inside its jail: `tree` is /usr, `image` is /image, `vmmDir` is /vmm, and /files has what is made here. */
export interface ProbeRun {
  readonly tree: string;
  readonly image: string;
  readonly vmmDir: string;
  /** What the probe runs, in the jail. /files/initrd.cpio is the guest's. */
  readonly command: readonly string[];
  /** More files below /files. */
  readonly files?: Readonly<Record<string, string>>;
  readonly limitMs?: number;
}

export interface ProbeVerdict {
  readonly alive: boolean;
  /** What was seen, for people; at most 300 characters. */
  readonly detail: string;
}

/** The jail of the probe could not be built, or its VMM not be started. */
export class ProbeFailedError extends Error {
  override readonly name = "ProbeFailedError";
}

export interface ProbeGround {
  readonly runDir: string;
  readonly cgroups: VmCgroups;
  /** A uid that no VM has. */
  readonly uid: number;
}

/**
 * Boots the probe guest under a VMM without privileges or network, in a cgroup of its own, and looks for its sign of life. Returns
 * within `limitMs` and the time of a kill, and leaves no process, cgroup or file, whatever the VMM does. Throws ProbeFailedError when the VMM was not
 * even started: that says nothing about its guests.
 */
export async function runProbe({ runDir, cgroups, uid }: ProbeGround, run: ProbeRun): Promise<ProbeVerdict> {
  // Named as a VM is: if the launcher dies meanwhile, the next one lists it, and `vm` removes it like any VM that belongs to no tenant.
  const id = randomBytes(16).toString("hex");
  const jail = `${runDir}/jails/${id}`;
  try {
    makeProbeJail(jail, { ...run.files });
    cgroups.create(id, { vcpuCount: 1, memoryMib: probeMemoryMib, overheadMib: 256 });
    const places = [jail, run.tree, run.image, run.vmmDir, String(uid), cgroups.joinFiles(id).join(":")];
    const child = spawn("/bin/sh", [`${import.meta.dirname}/probe.sh`, "enter", ...places, ...run.command], {
      cwd: "/",
      env: programEnvironment,
      stdio: ["pipe", "pipe", "pipe"],
    });
    return await observe(child, run.limitMs ?? probeLimitMs);
  } finally {
    await cgroups.kill(id);
    await cgroups.remove(id);
    removeTree(jail);
  }
}

/** Memory of the probe's guest, for its command line. */
export const probeGuestMemoryMib = probeMemoryMib;

function makeProbeJail(jail: string, files: Record<string, string>): void {
  mkdirSync(jail);
  chmodSync(jail, 0o711);
  for (const name of ["usr", "image", "vmm", "dev", "proc", "old", "files"]) {
    mkdirSync(`${jail}/${name}`);
    chmodSync(`${jail}/${name}`, name === "old" ? 0o700 : 0o755);
  }
  for (const name of ["lib", "lib64"]) symlinkSync(`usr/${name}`, `${jail}/${name}`);
  for (const [name, content] of [["initrd.cpio", probeInitrd()] as const, ...Object.entries(files)]) {
    writeFileSync(`${jail}/files/${name}`, content);
    chmodSync(`${jail}/files/${name}`, 0o444);
  }
}

/** The first of: the line on its output, its end, the limit. What the VMM prints is untrusted: bounded, and only ever compared or quoted. */
function observe(child: ChildProcess, limitMs: number): Promise<ProbeVerdict> {
  const began = performance.now();
  const took = () => `after ${Math.round(performance.now() - began)} ms`;
  return new Promise((resolve, reject) => {
    let output = "";
    let built = false;
    let errors = "";
    const finish = (alive: boolean, seen: string) => {
      clearTimeout(timer);
      if (!built) return reject(new ProbeFailedError(`${seen}${lastWords(errors)}`.slice(0, maxDetailLength)));
      const said = alive ? "" : lastWords(errors);
      resolve({ alive, detail: `${seen}${said}`.slice(0, maxDetailLength) });
    };
    const timer = setTimeout(() => finish(false, `no sign of life within ${limitMs} ms`), limitMs);
    child.stdout?.setEncoding("latin1").on("data", (chunk: string) => {
      output = (output + chunk).slice(-maxOutputBytes);
      built ||= output.startsWith("built\n");
      if (output.includes(aliveLine)) finish(true, `the guest's user space answered ${took()}`);
    });
    child.stderr?.setEncoding("latin1").on("data", (chunk: string) => {
      errors = (errors + chunk).slice(-maxOutputBytes);
    });
    child.stdin?.on("error", () => {}); // its end is seen by its exit
    child.once("error", (error) => finish(false, `the probe could not be started: ${error.message}`));
    // "close" comes after the last of its output was read.
    child.once("close", (code, signal) => {
      if (code === aliveStatus) return finish(true, `the guest's user space answered ${took()}`);
      finish(
        false,
        `the VMM ended with ${code === null ? signal : `status ${code}`} ${took()} and the guest gave no sign`,
      );
    });
  });
}

function lastWords(errors: string): string {
  const words = errors.replaceAll(/[^\x20-\x7e]+/g, " ").trim();
  return words === "" ? "" : `: ${words}`;
}
