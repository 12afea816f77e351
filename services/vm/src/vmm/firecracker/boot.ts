import { vmmFail } from "../port.ts";
import type { FirecrackerApi } from "./api-client.ts";
import { configurationDifferences } from "./configuration-differences.ts";
import {
  bootCalls,
  expectedAfterLoad,
  expectedConfiguration,
  type MachineSpec,
  outputCalls,
  snapshotLoad,
} from "./machine-document.ts";
import { escapeUntrusted } from "./untrusted-text.ts";

/** When each stage of a boot was over, as performance.now(). */
export interface BootTimes {
  readonly configured: number;
  readonly compared: number;
  readonly running: number;
}

/**
 * Makes a machine out of a fresh VMM and starts its guest, once the VMM's own account of the machine is the one that was ordered.
 * Errors: MACHINE_MISMATCH, and those of the API.
 */
export async function bootMachine(api: FirecrackerApi, spec: MachineSpec, version: string): Promise<BootTimes> {
  await requireFreshVmm(api, version);
  const calls = bootCalls(spec);
  for (const call of calls) await api.apply(call);
  const configured = performance.now();
  requireSame(expectedConfiguration(calls), await api.getConfiguration());
  const compared = performance.now();
  await api.startInstance();
  return { configured, compared, running: performance.now() };
}

/** The same out of the snapshot in the jail. The guest stays paused: no CPU has run when this returns. */
export async function loadMachine(api: FirecrackerApi, spec: MachineSpec, version: string): Promise<BootTimes> {
  await requireFreshVmm(api, version);
  for (const call of outputCalls()) await api.apply(call);
  await api.loadSnapshot(snapshotLoad);
  const configured = performance.now();
  const { expected, actual } = expectedAfterLoad(bootCalls(spec), await api.getConfiguration());
  requireSame(expected, actual);
  const { state } = await api.getInstance();
  if (state !== "Paused") throw vmmFail("MACHINE_MISMATCH", `the loaded machine is ${state}, ordered Paused`);
  const compared = performance.now();
  return { configured, compared, running: compared };
}

async function requireFreshVmm(api: FirecrackerApi, version: string): Promise<void> {
  const found = await api.getVersion();
  if (found !== version) {
    throw vmmFail("MACHINE_MISMATCH", `the VMM is version ${escapeUntrusted(found, 64)}, ordered ${version}`);
  }
  const { state } = await api.getInstance();
  if (state !== "Not started") throw vmmFail("MACHINE_MISMATCH", `the VMM is ${state} before its machine was made`);
}

function requireSame(expected: unknown, actual: unknown): void {
  const differences = configurationDifferences(expected, actual);
  if (differences.length > 0)
    throw vmmFail("MACHINE_MISMATCH", `the machine is not as ordered: ${differences.join("; ")}`);
}
