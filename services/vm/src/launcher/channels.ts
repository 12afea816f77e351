import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";
import { connect, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { type Channel, LauncherError } from "./protocol.ts";

/** O_PATH, which Node does not export: names a file without opening it, so that no device or FIFO notices. */
const pathOnly = 0o10000000;

const freeWithinMs = 500;
export const apiSocketName = "api.socket";
/** Names of the files in the jail's root. */
const names: Readonly<Record<Channel, string>> = {
  api: apiSocketName,
  log: "log.fifo",
  metrics: "metrics.fifo",
  serial: "serial.fifo",
};

/** Opens channels, each one once at a time. `root` is the jail's root directory; the directories above it are root's alone. */
export function openChannels() {
  const open = new Set<string>();
  return async (vmId: string, channel: Channel, root: string, uid: number): Promise<Duplex> => {
    const key = `${vmId} ${channel}`;
    // Who has just closed one may open the next before the launcher has seen the end of the first.
    const take = async () => (open.has(key) ? undefined : open.add(key));
    await waitFor("the channel", take, { timeoutMs: freeWithinMs, intervalMs: 2 }).catch(() => {
      throw new LauncherError("CHANNEL_BUSY", `${channel} of ${vmId} is taken`);
    });
    try {
      const stream = await openChannel(channel, root, uid);
      return stream.once("close", () => open.delete(key));
    } catch (error) {
      open.delete(key);
      throw error;
    }
  };
}

/**
 * The root directory of a Firecracker jail belongs to the VMM, which may have replaced anything in it. The name is resolved once, without
 * following a link and without opening what stands there; what it named is checked; and exactly that is opened, by its descriptor.
 */
async function openChannel(channel: Channel, root: string, uid: number): Promise<Duplex> {
  let directory: number | undefined;
  let file: number | undefined;
  try {
    directory = openSync(root, pathOnly | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    file = openSync(`/proc/self/fd/${directory}/${names[channel]}`, pathOnly | constants.O_NOFOLLOW);
    const found = fstatSync(file);
    const kind = channel === "api" ? found.isSocket() : found.isFIFO();
    if (!kind || found.uid !== uid || found.nlink !== 1)
      throw new LauncherError("HOST_UNSAFE", `${names[channel]} is not the VMM's own`);
    const path = `/proc/self/fd/${file}`;
    if (channel === "api") return await connected(path);
    // Without waiting for a writer; with O_RDONLY the end of the VMM is the end of the channel.
    const reading = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd: reading, readable: true, writable: false });
  } catch (error) {
    if (error instanceof LauncherError) throw error;
    throw new LauncherError(
      "HOST_UNSAFE",
      `${names[channel]} cannot be opened: ${(error as NodeJS.ErrnoException).code}`,
    );
  } finally {
    for (const descriptor of [file, directory]) if (descriptor !== undefined) closeSync(descriptor);
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true }, () => resolve(socket.off("error", reject)));
    socket.once("error", reject);
  });
}

/** Whether the VMM listens. */
export function apiSocketExists(root: string): boolean {
  return lstatSync(`${root}/${apiSocketName}`, { throwIfNoEntry: false })?.isSocket() === true;
}
