import { chownSync, closeSync, constants, fstatSync, lstatSync, openSync, type Stats, unlinkSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { Duplex } from "node:stream";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { ChannelPlace } from "./jailer.ts";
import { LauncherError } from "./protocol.ts";
import { fitsSaved, receiveSaved, sendSaved } from "./saved-files.ts";

/** O_PATH, which Node does not export: names a file without opening it, so that no device or FIFO notices. */
const pathOnly = 0o10000000;

const freeWithinMs = 500;
export const apiSocketName = "api.socket";

/** Opens channels, each one once at a time. The directories above `directory` are root's alone; what is in it is the VMM's. */
export function openChannels() {
  const open = new Set<string>();
  return async (vmId: string, directory: string, place: ChannelPlace, uid: number, memoryBytes = 0) => {
    const key = `${vmId} ${place.name}`;
    // Who has just closed one may open the next before the launcher has seen the end of the first.
    const take = async () => (open.has(key) ? undefined : open.add(key));
    await waitFor("the channel", take, { timeoutMs: freeWithinMs, intervalMs: 2 }).catch(() => {
      throw new LauncherError("CHANNEL_BUSY", `${place.name} of ${vmId} is taken`);
    });
    try {
      const stream = await openChannel(directory, place, uid, memoryBytes);
      return stream.once("close", () => open.delete(key));
    } catch (error) {
      open.delete(key);
      throw error;
    }
  };
}

/**
 * The VMM may have replaced anything in its directory. The name is resolved once, without following a link and without opening what stands
 * there; what it named is checked; and exactly that is opened, by its descriptor.
 */
async function openChannel(path: string, place: ChannelPlace, uid: number, memoryBytes: number): Promise<Duplex> {
  const { name, kind } = place;
  let directory: number | undefined;
  try {
    if (kind === "loaded") return await receiveSaved(path, name, uid, memoryBytes);
    directory = openSync(path, pathOnly | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    if (kind === "listener") return await listenOnce(directory, name, uid);
    const named = `/proc/self/fd/${directory}/${name}`;
    return await withFile(named, async (file, found) => {
      const is = { socket: found.isSocket(), fifo: found.isFIFO(), written: fitsSaved(name, found, memoryBytes) };
      if (!is[kind] || found.uid !== uid || found.nlink !== 1)
        throw new LauncherError("HOST_UNSAFE", `${name} is not the VMM's own`);
      if (kind === "socket") return connected(file);
      // Without waiting for a writer; with O_RDONLY the end of the VMM is the end of the channel.
      const reading = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
      if (kind === "fifo") return new Socket({ fd: reading, readable: true, writable: false });
      unlinkSync(named);
      return sendSaved(reading, found.size);
    });
  } catch (error) {
    if (error instanceof LauncherError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LauncherError("HOST_UNSAFE", `${name} cannot be opened: ${code}`);
  } finally {
    if (directory !== undefined) closeSync(directory);
  }
}

/** Calls `work` with a path by which exactly the file that `path` names can be opened. */
async function withFile<T>(path: string, work: (file: string, found: Stats) => Promise<T>): Promise<T> {
  const file = openSync(path, pathOnly | constants.O_NOFOLLOW);
  try {
    return await work(`/proc/self/fd/${file}`, fstatSync(file));
  } finally {
    closeSync(file);
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true }, () => resolve(socket.off("error", reject)));
    socket.once("error", reject);
  });
}

/**
 * A new socket in the VMM's directory that takes one connection, of whoever has its uid, and is gone then. What is sent on it comes out of
 * the stream. Whatever the VMM put at the name meanwhile is its own: only a socket of the launcher's is given to it.
 */
async function listenOnce(directory: number, name: string, uid: number): Promise<Duplex> {
  const own = openSync(`/proc/self/fd/${directory}`, pathOnly | constants.O_DIRECTORY); // open as long as it listens
  const path = `/proc/self/fd/${own}/${name}`;
  const server = createServer();
  const stopListening = () => {
    if (!server.listening) return;
    server.close();
    remove(path);
    closeSync(own);
  };
  let sender: Socket | undefined;
  const channel = new Duplex({
    read: () => void sender?.resume(),
    destroy(error, done) {
      stopListening();
      sender?.destroy();
      done(error);
    },
  });
  channel.end(); // nothing is sent to it
  server.once("connection", (socket) => {
    stopListening();
    sender = socket;
    socket.on("data", (chunk) => channel.push(chunk) || socket.pause());
    socket.once("end", () => channel.push(null)).once("error", (error) => channel.destroy(error));
  });
  remove(path); // of a launcher that was killed
  try {
    await new Promise<void>((resolve, reject) => void server.once("error", reject).listen(path, resolve));
  } catch (error) {
    closeSync(own);
    throw error;
  }
  try {
    await withFile(path, async (file, found) => {
      if (!found.isSocket() || found.uid !== 0 || found.nlink !== 1)
        throw new LauncherError("HOST_UNSAFE", `${name} was replaced`);
      chownSync(file, uid, uid);
    });
  } catch (error) {
    channel.destroy();
    throw error;
  }
  return channel;
}

/** A directory that the VMM put there stays: then nothing can listen at its name. */
function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!["ENOENT", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** Whether the VMM listens. */
export function apiSocketExists(root: string): boolean {
  return lstatSync(`${root}/${apiSocketName}`, { throwIfNoEntry: false })?.isSocket() === true;
}
