import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { AdminEndpoint } from "./admin.ts";

const listenState = "0A";
const maxEndpoints = 16;

/**
 * TCP endpoints in this network namespace on which Caddy's user listens. Whoever reached the admin API once can move it
 * to any address; without this search the configuration could not be taken back without restarting Caddy.
 */
export async function findCaddyListeners(adminSocketPath: string): Promise<AdminEndpoint[]> {
  // The admin directory belongs to Caddy's user, and stays when the socket goes.
  const { uid } = await stat(dirname(adminSocketPath));
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((path) => readFile(path, "utf8")));
  const ports = new Set(tables.flatMap((table) => listeningPorts(table, uid)));
  return [...ports].slice(0, maxEndpoints).flatMap((port) => [
    { host: "127.0.0.1", port },
    { host: "::1", port },
  ]);
}

/** Ports in LISTEN state that `uid` owns, from the text of /proc/net/tcp (proc_pid_net(5)). */
export function listeningPorts(table: string, uid: number): number[] {
  const ports: number[] = [];
  for (const line of table.split("\n").slice(1)) {
    const [, local, , state, , , , owner] = line.trim().split(/\s+/);
    if (local === undefined || state !== listenState || Number(owner) !== uid) continue;
    ports.push(Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16));
  }
  return ports;
}
