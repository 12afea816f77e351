import { setTimeout as delay } from "node:timers/promises";
import { listTables } from "./firewall/canonical.ts";
import { namespaceFiles, removeNamespaces } from "./host/namespace.ts";
import { createProcessRunner, type ProcessRunner } from "./host/process.ts";
import { linkPrefix, namespacePrefix, slotOfName } from "./slots/address-plan.ts";
import { listSlotLinks, type SlotLinks } from "./slots/link-listing.ts";

const vanishTimeoutMs = 2000;
const vanishIntervalMs = 50;

/**
 * Removes everything of ours from the host: namespaces, links, and last the tables, so that nothing is ever reachable
 * without rules. Nothing may be running in the slots, and the service must be stopped. Safe to repeat.
 */
export async function tearDown(netnsDir: string, runner: ProcessRunner = createProcessRunner()): Promise<void> {
  const files = (await namespaceFiles(netnsDir)).filter(
    (name) => name === "scratch" || slotOfName(namespacePrefix, name) !== undefined,
  );
  await removeNamespaces(
    runner,
    files.map((name) => `${netnsDir}/${name}`),
  );
  const links = await vanishingLinks(runner);
  const commands = [...links.keys()].map((slot) => `link delete dev ${linkPrefix}${slot}\n`);
  if (commands.length > 0) await runner.run(["ip", "-batch", "-"], { input: commands.join(""), timeoutMs: 60_000 });
  const tables = [...(await listTables(runner)).keys()].map((key) => `delete table ${key}\n`);
  if (tables.length > 0) await runner.run(["nft", "-f", "-"], { input: tables.join("") });
}

/**
 * The links that stay. The kernel removes those of a namespace that ended by itself, all at once; removing them one by one
 * costs an RCU grace period each, so it is left to that for as long as their number shrinks.
 */
async function vanishingLinks(runner: ProcessRunner): Promise<SlotLinks> {
  const deadline = performance.now() + vanishTimeoutMs;
  let links = await listSlotLinks(runner);
  while (links.size > 0 && performance.now() < deadline) {
    await delay(vanishIntervalMs);
    links = await listSlotLinks(runner);
  }
  return links;
}
