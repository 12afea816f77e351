import { createHash } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import { cgroupsOf } from "./cgroups.ts";
import { instanceFiles } from "./configuration.ts";
import { processesOf } from "./down.ts";
import { describeInstance, type Instance, type InstanceName } from "./instance.ts";
import { mountsBelow } from "./mounts.ts";
import { listNetworks, type Namespace } from "./network-inventory.ts";
import { commandOf, statusOf } from "./proc.ts";
import { presentUsers } from "./users.ts";

const maxConfigurationBytes = 16 * 1024 * 1024;

/** What differs between two inventories; a line that is there twice and then once is one line removed. */
export interface InventoryDifference {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/**
 * Everything on the machine that a tenant or the instance could leave behind, one sorted line each: processes of the instance
 * (without pids, so that a restarted service is no difference), links, namespaces, rules and connections of the machine and of
 * every namespace of the instance, cgroups, mounts, jails, overlays, memories, users, devices and Caddy's configuration.
 */
export async function takeInventory(name: InstanceName): Promise<string[]> {
  const instance = describeInstance(name);
  const namespaces = namespacesOf(instance);
  return [
    ...processLines(instance),
    ...(await listNetworks(namespaces)),
    ...namespaces.filter(({ path }) => path !== undefined).map((one) => `namespace ${one.name}`),
    ...entriesOf("/run/netns").map((entry) => `namespace machine ${entry}`),
    ...cgroupsOf(instance).map((path) => `cgroup ${path}`),
    ...mountsBelow(instance.runDir).map((path) => `mount ${path}`),
    ...entriesOf(`${instance.runDir}/jails`).map((entry) => `jail ${entry}`),
    ...entriesOf(`${instance.stateDir}/vms`).map((entry) => `overlay ${entry}`),
    ...entriesOf(`${instance.stateDir}/vm/sealed`).map((entry) => `sealed memory ${entry}`),
    ...entriesOf(instanceFiles(instance).spoolDir).map((entry) => `spooled memory ${entry}`),
    ...entriesOf(instanceFiles(instance).namesDirectory).map((entry) => `name in front ${entry}`),
    ...entriesOf(`${instanceFiles(instance).namesDirectory}/.asleep`).map((entry) => `name asleep ${entry}`),
    ...[instance.runDir, instance.stateDir, instance.environmentPath]
      .filter((path) => existsSync(path))
      .map((path) => `path ${path}`),
    ...presentUsers(),
    ...deviceLines(),
    await caddyLine(instance),
  ].sort();
}

export function diffInventories(before: readonly string[], after: readonly string[]): InventoryDifference {
  return { added: without(after, before), removed: without(before, after) };
}

function without(lines: readonly string[], taken: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of taken) counts.set(line, (counts.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const count = counts.get(line) ?? 0;
    counts.set(line, count - 1);
    return count <= 0;
  });
}

/** The machine's own namespace, the instance's, the outside's and those of its slots. */
function namespacesOf(instance: Instance): Namespace[] {
  const slots = entriesOf(`${instance.runDir}/netns`).map((name) => ({
    name,
    path: `${instance.runDir}/netns/${name}`,
  }));
  const own = [
    { name: instance.netns, path: instance.netnsPath },
    { name: instance.outsideNetns, path: instance.outsideNetnsPath },
  ].filter(({ path }) => existsSync(path));
  // A slot's file is there a moment before its namespace is mounted on it.
  return [{ name: "machine", path: undefined }, ...own, ...slots.filter(({ path }) => mountsBelow(path).length > 0)];
}

function processLines(instance: Instance): string[] {
  return processesOf(instance).flatMap(({ pid }) => {
    const status = statusOf(pid);
    const command = commandOf(pid).replaceAll(`${instance.appDir}/`, "").slice(0, 200);
    return status === undefined ? [] : [`process uid=${status.uids[0]} ${command}`];
  });
}

function deviceLines(): string[] {
  return ["/dev/net/tun", "/dev/kvm"]
    .filter((path) => existsSync(path))
    .map((path) => {
      const { mode, uid, gid } = statSync(path);
      return `device ${path} ${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    });
}

function entriesOf(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

async function caddyLine(instance: Instance): Promise<string> {
  const { adminSocketPath } = instanceFiles(instance);
  if (!existsSync(adminSocketPath)) return "caddy does not run";
  const configuration: unknown = JSON.parse(await fetchOver(adminSocketPath, "/config/"));
  const digest = createHash("sha256")
    .update(JSON.stringify(sortKeys(configuration)))
    .digest("hex");
  return `caddy configuration ${digest}`;
}

/** GET over a Unix socket. Caddy allows no Host on it but the empty one, in whose place Node would put its own. */
function fetchOver(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath, path, headers: { Host: "" }, setHost: false, timeout: 5000, agent: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          body += chunk;
          if (body.length > maxConfigurationBytes) response.destroy(new Error("Caddy's configuration is too long"));
        });
        response.on("error", reject);
        response.on("end", () => {
          if (response.statusCode === 200) resolve(body);
          else reject(new Error(`Caddy answers ${path} with ${response.statusCode}`));
        });
      },
    );
    call.on("timeout", () => call.destroy(new Error("Caddy did not answer in time")));
    call.on("error", reject);
    call.end();
  });
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, child]) => [key, sortKeys(child)]));
}
