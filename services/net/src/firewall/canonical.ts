import { inScratchNamespace } from "../host/namespace.ts";
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
  return await inScratchNamespace(runner, path, async (scratch) => {
    // Before Linux 6.16 a netdev chain can only be made for a device that exists.
    await scratch.run(["ip", "link", "add", "name", inner.tap, "type", "veth", "peer", "name", inner.uplink]);
    await scratch.run(["nft", "-f", "-"], { input: renderRuleset(ruleset) });
    const tables = await listTables(scratch);
    assertComplete(ruleset, tables);
    return tables;
  });
}

/** What everything else is compared with must not itself lack something: an nft that left it out everywhere would seem right. */
function assertComplete(ruleset: Ruleset, tables: ReadonlyMap<string, ListedTable>): void {
  for (const { family, name, sets, chains } of ruleset) {
    const blocks = tables.get(`${family} ${name}`)?.blocks;
    const has = (heading: string, text: string): boolean => blocks?.get(heading)?.includes(text) === true;
    const missing = [
      ...sets.filter((set) => !has(`set ${set.name}`, "type ")).map((set) => set.name),
      ...chains.flatMap((chain) =>
        chain.rules.filter(({ id }) => !has(`chain ${chain.name}`, `comment "${id}"`)).map(({ id }) => id),
      ),
    ];
    if (missing.length > 0) throw new Error(`nft did not load ${missing.join(", ")} of table ${family} ${name}`);
  }
}

/** Our tables in the namespace of `runner`, as they are now, without the elements of named sets: those are compared by set. */
export async function listTables(runner: ProcessRunner): Promise<ReadonlyMap<string, ListedTable>> {
  return readTables(await runner.run(["nft", "--stateless", "--terse", "list", "ruleset"]), tableName);
}
