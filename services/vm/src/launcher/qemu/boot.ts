import { setTimeout as delay } from "node:timers/promises";
import type { JailScript } from "../jail-script.ts";
import type { JailedVmm, MemorySource } from "../jailer.ts";
import { LauncherError } from "../protocol.ts";

/** The longest that a template may take to be read; the status is asked so seldom that its answers stay within what is read of a script. */
const loadWithinMs = 10_000;
const askEveryMs = 20;

/**
 * Takes QEMU from a running jail.sh to initialised with its CPUs stopped, over its start-up monitor, and through its template if it has one. One
 * that waits for its state is never told to run here. Throws VMM_FAILED.
 */
export async function bootQemu(script: JailScript, source: MemorySource): Promise<JailedVmm> {
  const monitor = openMonitor(script);
  try {
    await script.expect("built");
    const jailBuiltMs = performance.now();
    await monitor.execute("qmp_capabilities");
    const answeredMs = performance.now();
    await script.ended();
    if (typeof source !== "string") await untilLoaded(monitor);
    const run = async () => {
      if (source === "incoming") return;
      // Asking for the status afterwards would wait for the guest's first instructions, which hold the VMM's lock.
      await monitor.execute("cont");
      if (!monitor.events.has("RESUME")) throw new LauncherError("VMM_FAILED", "the VMM does not run");
    };
    return { jailBuiltMs, answeredMs, run, release: () => script.release() };
  } catch (error) {
    script.release();
    throw script.failure(error);
  }
}

async function untilLoaded(monitor: ReturnType<typeof openMonitor>): Promise<void> {
  for (const deadline = performance.now() + loadWithinMs; performance.now() < deadline; await delay(askEveryMs)) {
    const { status } = (await monitor.execute("query-status")) as { status?: unknown };
    if (status === "paused") return;
    if (status !== "inmigrate") break;
  }
  throw new Error("the VMM did not load its template");
}

/** The VMM's machine protocol: one JSON object a line each way. Its answers are untrusted and bounded. */
function openMonitor(script: JailScript) {
  /** Names of the events that came before the last answer. */
  const events = new Set<string>();
  return {
    events,
    async execute(command: string): Promise<unknown> {
      script.send(JSON.stringify({ execute: command }));
      for (;;) {
        const message = JSON.parse(await script.nextLine()) as { return?: unknown; error?: unknown; event?: unknown };
        if (typeof message.event === "string") events.add(message.event);
        if (message.error !== undefined) throw new Error("the VMM refused a monitor command");
        if (message.return !== undefined) return message.return;
      }
    },
  };
}
