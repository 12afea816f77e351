import type { HostView, Verdict } from "../control.ts";
import type { Tree } from "./host-tree.ts";

/** What a control makes of a host that differs from the sound one in the files of `tree` and the facts of `view`. */
export interface Case {
  readonly control: string;
  readonly name: string;
  readonly verdict: Verdict;
  readonly tree?: Tree;
  readonly view?: Partial<HostView>;
}

/** Cases of one control: name, verdict, and what is changed. */
export function casesOf(
  control: string,
  ...rows: ReadonlyArray<readonly [name: string, verdict: Verdict, tree?: Tree, view?: Partial<HostView>]>
): readonly Case[] {
  return rows.map(([name, verdict, tree = {}, view = {}]) => ({ control, name, verdict, tree, view }));
}

const cpus = "/sys/devices/system/cpu";

export const smt = (active: string, control: string): Tree => ({
  [`${cpus}/smt/active`]: active,
  [`${cpus}/smt/control`]: control,
});

export const vulnerability = (name: string, text: string | undefined): Tree => ({
  [`${cpus}/vulnerabilities/${name}`]: text,
});

/** A host whose kernel is built from `release` and named so. */
export const kernel = (release: string): Tree => ({
  "/proc/sys/kernel/osrelease": release,
  "/proc/version": `Linux version ${release} (builder)`,
  [`/boot/vmlinuz-${release}`]: { changeTimeMs: 0 },
});

export const qemu = (accelerator: string): Partial<HostView> => ({
  vmm: { vmm: "qemu", version: "7.2.22", accelerator, productionBoundary: false },
});
