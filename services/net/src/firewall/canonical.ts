import { createNamespace, removeNamespaces } from "../host/namespace.ts";
import type { ProcessRunner } from "../host/process.ts";
import { inner, tableName } from "../slots/address-plan.ts";
import { type ListedTable, readTables } from "./nft-output.ts";
import { type Ruleset, renderRuleset } from "./ruleset.ts";

/**
 * How this machine's nft prints `ruleset`: the ruleset is loaded into an empty namespace that exists only for that (its file
 * is `path`) and listed. What is read back from the real namespaces is compared with this, so the comparison needs no
 * knowledge of how an nft version words a rule.
 */
export async function canonicalTables(
  runner: ProcessRunner,
  path: string,
  ruleset: Ruleset,
): Promise<ReadonlyMap<string, ListedTable>> {
  await removeNamespaces(runner, [path]);
  await createNamespace(runner, path);
  try {
    const scratch = runner.within(path);
    // Before Linux 6.16 a netdev chain can only be made for a device that exists.
    await scratch.run(["ip", "link", "add", "name", inner.tap, "type", "veth", "peer", "name", inner.uplink]);
    await scratch.run(["nft", "-f", "-"], { input: renderRuleset(ruleset) });
    return await listTables(scratch);
  } finally {
    await removeNamespaces(runner, [path]);
  }
}

/** Our tables in the namespace of `runner`, as they are now, without the elements of named sets: those are compared by set. */
export async function listTables(runner: ProcessRunner): Promise<ReadonlyMap<string, ListedTable>> {
  return readTables(await runner.run(["nft", "--stateless", "--terse", "list", "ruleset"]), tableName);
}
