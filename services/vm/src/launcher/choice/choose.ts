import type { LauncherConfig } from "../config.ts";
import type { ProbeVerdict } from "./probe.ts";

/** The VMM that this launcher starts, and why. */
export type VmmChoice =
  | { readonly vmm: "firecracker"; readonly accelerator: "kvm"; readonly reason: string }
  | { readonly vmm: "qemu"; readonly accelerator: "kvm" | "tcg"; readonly reason: string };

export type VmmSettings = Pick<LauncherConfig["vmm"], "kind" | "accelerator">;

/** What the choice looks at. Each is asked only when the settings leave it open or require it. */
export interface VmmFacts {
  /** Undefined when both verified binaries are there; else why not. */
  firecrackerMissing(): Promise<string | undefined>;
  /** Whether a guest runs under this VMM with KVM. */
  probe(vmm: "firecracker" | "qemu"): Promise<ProbeVerdict>;
}

/** What was configured cannot run here. Nothing else is taken instead: the launcher does not start. */
export class VmmUnavailableError extends Error {
  override readonly name = "VmmUnavailableError";
}

/**
 * `auto` takes Firecracker when it is installed, verified, and a guest runs under it; else QEMU, with KVM when a guest runs under that, else
 * emulated. What is named in the settings is taken or refused (VmmUnavailableError), never replaced.
 */
export async function chooseVmm(settings: VmmSettings, facts: VmmFacts): Promise<VmmChoice> {
  const { kind } = settings;
  if (kind === "qemu") return chooseAccelerator(settings, facts, []);
  const refusal = await firecrackerRefusal(facts);
  if (refusal.why === undefined) return { vmm: "firecracker", accelerator: "kvm", reason: refusal.seen };
  if (kind === "firecracker") throw new VmmUnavailableError(`Firecracker is configured: ${refusal.why}`);
  return chooseAccelerator(settings, facts, [`not Firecracker: ${refusal.why}`]);
}

async function firecrackerRefusal(
  facts: VmmFacts,
): Promise<{ why: string; seen?: never } | { why?: never; seen: string }> {
  const missing = await facts.firecrackerMissing();
  if (missing !== undefined) return { why: missing };
  const { alive, detail } = await facts.probe("firecracker");
  return alive ? { seen: `Firecracker under KVM: ${detail}` } : { why: `no guest runs under it: ${detail}` };
}

async function chooseAccelerator(
  { accelerator }: VmmSettings,
  facts: VmmFacts,
  before: readonly string[],
): Promise<VmmChoice> {
  const because = (why: string) => [...before, why].join("; ");
  if (accelerator === "tcg") return { vmm: "qemu", accelerator, reason: because("QEMU emulates, as configured") };
  const { alive, detail } = await facts.probe("qemu");
  if (alive) return { vmm: "qemu", accelerator: "kvm", reason: because(`QEMU under KVM: ${detail}`) };
  if (accelerator === "kvm") throw new VmmUnavailableError(`QEMU under KVM is configured: ${detail}`);
  return { vmm: "qemu", accelerator: "tcg", reason: because(`QEMU emulates: KVM runs no guest here: ${detail}`) };
}
