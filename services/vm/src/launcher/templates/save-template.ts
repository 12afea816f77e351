import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { z } from "zod";
import { type Monitor, openMonitor } from "../../vmm/qemu/monitor.ts";
import { vmPaths } from "../config.ts";
import { type LauncherHost, requireRecord } from "../host.ts";
import type { Channel } from "../protocol.ts";
import { socketNames } from "../qemu/command.ts";
import type { TemplateDraft } from "./template-store.ts";

/** A guest that does not wait by then has an init that never does, or is a guest that hangs: it goes on as if it had never been asked. */
const waitsWithinMs = 30_000;
const sentWithinMs = 20_000;
/** Beside the guest's memory a state holds its devices. */
const devicesBytes = 16 * 1024 * 1024;
const mib = 1024 * 1024;
const unlimited = 64 * 1024 ** 3;

const anything = z.unknown();
const drivesSchema = z.array(
  z.looseObject({ "node-name": z.string().optional(), stats: z.looseObject({ flush_operations: z.int() }) }),
);
const migrationSchema = z.looseObject({ status: z.string().max(64).optional() });

/**
 * Saves a VM that was just let run, once its guest waits for its identity (deploy/guest/image/init.sh), and lets it go on after `giveIdentity`.
 * Returns whether there is a template; a guest that does not wait in time has its identity then and goes on. Throws when the VM is of no
 * use any more. What the VMM says is as hostile as ever, and can be no more than a template of its own size.
 */
export async function saveTemplate(
  host: LauncherHost,
  vmId: string,
  { memoryMib, draft, giveIdentity }: { memoryMib: number; draft: TemplateDraft; giveIdentity: () => void },
): Promise<boolean> {
  const monitor = await openMonitor(await openChannel(host, vmId, "api"));
  try {
    const isWaiting = await comesToWait(monitor);
    // In any case: a guest that begins to read its drive must not see half of it.
    await monitor.execute("stop", anything);
    if (isWaiting) await send(host, vmId, monitor, { draft, limitBytes: memoryMib * mib + devicesBytes });
    giveIdentity();
    await monitor.execute("cont", anything);
    if (!monitor.events.has("RESUME")) throw new Error("the VMM does not let the guest go on");
    return isWaiting;
  } finally {
    monitor.close();
  }
}

async function comesToWait(monitor: Monitor): Promise<boolean> {
  for (const deadline = performance.now() + waitsWithinMs; performance.now() < deadline; await delay(20))
    if (await hasFlushed(monitor)) return true;
  return false;
}

/** The guest's init writes nothing before it has an identity; it says that it waits by a flush of its untouched disk. */
async function hasFlushed(monitor: Monitor): Promise<boolean> {
  const drives = await monitor.execute("query-blockstats", drivesSchema);
  return drives.some((drive) => drive["node-name"] === "overlay" && drive.stats.flush_operations > 0);
}

async function send(
  host: LauncherHost,
  vmId: string,
  monitor: Monitor,
  { draft, limitBytes }: { draft: TemplateDraft; limitBytes: number },
): Promise<void> {
  await monitor.execute("migrate-set-parameters", anything, { "max-bandwidth": unlimited });
  const state = await openChannel(host, vmId, "state");
  let bytes = 0;
  const writing = pipeline(
    state,
    // Not a stream of the file's own: one that is not closed keeps the file from being closed for ever.
    async (pieces: AsyncIterable<Buffer>) => {
      for await (const piece of pieces) {
        bytes += piece.length;
        if (bytes > limitBytes) throw new Error(`the state is longer than ${limitBytes} bytes`);
        await draft.file.writeFile(piece);
      }
    },
    { signal: AbortSignal.timeout(sentWithinMs) },
  );
  try {
    await Promise.all([writing, monitor.execute("migrate", anything, { uri: `unix:/run/${socketNames.state}` })]);
    const completed = async () => {
      const { status } = await monitor.execute("query-migrate", migrationSchema);
      if (status === "failed" || status === "cancelled") throw new Error(`the state was not sent: ${status}`);
      return status === "completed" || undefined;
    };
    await waitFor("the end of the state", completed, { timeoutMs: sentWithinMs, intervalMs: 5 });
  } finally {
    state.destroy();
    await writing.catch(() => {}); // told above
  }
}

function openChannel(host: LauncherHost, vmId: string, channel: Channel) {
  const { config, jailer } = host;
  const place = jailer.channels[channel];
  if (place === undefined) throw new Error(`${jailer.description.name} has no ${channel} channel`);
  const uid = config.uidBase + requireRecord(host, vmId).slot;
  return host.openChannel(vmId, jailer.channelsIn(vmPaths(config, vmId), vmId), place, uid);
}
