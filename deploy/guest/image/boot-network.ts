import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { runTool } from "./tool.ts";

export const guestAddress = "10.77.0.2";
/** The namespace's end of the guest's link. */
export const gatewayAddress = "10.77.0.1";
export const guestMac = "06:00:0a:4d:00:02";
export const tapName = "tap0";

/** A network namespace with one guest's tap in it, and Unix sockets that lead to the guest's ports. */
export type BootNetwork = {
  readonly name: string;
  /** Connecting to this path connects to the guest's port. */
  socketOf(port: number): string;
  remove(): Promise<void>;
};

const relayPath = new URL("./namespace-relay.ts", import.meta.url).pathname;

async function removeNamespace(name: string): Promise<void> {
  const list = await runTool(["ip", "netns", "list"]);
  if (list.split("\n").some((line) => line.split(" ")[0] === name)) await runTool(["ip", "netns", "delete", name]);
}

async function startRelay(name: string, directory: string, ports: readonly number[]): Promise<ChildProcess> {
  const targets = ports.map((port) => `${join(directory, `${port}.sock`)}=${guestAddress}:${port}`);
  const argv = ["netns", "exec", name, process.execPath, relayPath, ...targets];
  const relay = spawn("ip", argv, { stdio: ["ignore", "pipe", "inherit"] });
  const failed = once(relay, "exit").then(([code]) => {
    throw new Error(`the relay into ${name} ended with ${String(code)}`);
  });
  // It prints one line when it listens.
  await Promise.race([once(relay.stdout, "data"), failed]);
  failed.catch(() => undefined);
  return relay;
}

/**
 * Makes the namespace `name`, which must not exist, with the guest's side of docs/architecture.md, and a relay from Unix sockets in
 * `directory`: Node cannot enter a namespace, so a small process inside it dials for this one.
 */
export async function createBootNetwork(
  name: string,
  directory: string,
  ports: readonly number[],
): Promise<BootNetwork> {
  await runTool(["ip", "netns", "add", name]);
  try {
    const ip = (...argv: string[]) => runTool(["ip", "-n", name, ...argv]);
    await ip("link", "set", "lo", "up");
    await ip("tuntap", "add", "dev", tapName, "mode", "tap");
    await ip("addr", "add", `${gatewayAddress}/30`, "dev", tapName);
    await ip("link", "set", tapName, "up");
    // ARP asks once a second: an unanswered question during boot would hide the guest for up to that long.
    await ip("neigh", "add", guestAddress, "lladdr", guestMac, "dev", tapName, "nud", "permanent");
    const relay = await startRelay(name, directory, ports);
    return {
      name,
      socketOf: (port) => join(directory, `${port}.sock`),
      async remove() {
        relay.kill("SIGKILL");
        await removeNamespace(name);
      },
    };
  } catch (error) {
    await removeNamespace(name);
    throw error;
  }
}
