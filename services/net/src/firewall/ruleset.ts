/** One nft rule. `id` is its comment in the kernel and the stable reason of its drops; `control` is the row of the controls it is for. */
export interface Rule {
  readonly id: string;
  readonly control: string;
  readonly text: string;
}

export interface Chain {
  readonly name: string;
  /** Makes it a base chain: type, hook, priority and policy in nft's words. */
  readonly base?: string;
  readonly rules: readonly Rule[];
}

export interface NftSet {
  readonly name: string;
  readonly properties: readonly string[];
  readonly elements: readonly string[];
}

export interface Table {
  readonly family: "inet" | "arp" | "netdev";
  readonly name: string;
  readonly sets: readonly NftSet[];
  readonly chains: readonly Chain[];
}

export type Ruleset = readonly Table[];

/**
 * The packet that opens a connection. State `new` alone would not do: it is every packet's of a connection that was never
 * answered, so one stream of datagrams would count as hundreds of connections.
 */
export const opens = "ct state new ct status ! confirmed";

/**
 * Complete nft text that replaces these tables, whatever was in them, in one transaction: there is no moment without
 * rules. Other tables are not mentioned.
 */
export function renderRuleset(ruleset: Ruleset): string {
  return ruleset.map(renderTable).join("");
}

/** The same ruleset without the rule `id`, for showing what that rule holds off. Throws if there is no such rule. */
export function withoutRule(ruleset: Ruleset, id: string): Ruleset {
  if (!ruleIds(ruleset).includes(id)) throw new RangeError(`no rule ${id}`);
  return ruleset.map((table) => ({
    ...table,
    chains: table.chains.map((chain) => ({ ...chain, rules: chain.rules.filter((rule) => rule.id !== id) })),
  }));
}

/** The same ruleset with `clause` taken out of rule `id`, for the same purpose. Throws if the rule does not have it. */
export function withoutClause(ruleset: Ruleset, id: string, clause: string): Ruleset {
  const rule = ruleset.flatMap(({ chains }) => chains.flatMap(({ rules }) => rules)).find((one) => one.id === id);
  if (rule === undefined || !rule.text.includes(clause)) throw new RangeError(`no rule ${id} with ${clause}`);
  const weaker = { ...rule, text: rule.text.replace(clause, "").replaceAll(/ {2,}/g, " ").trim() };
  return ruleset.map((table) => ({
    ...table,
    chains: table.chains.map((chain) => ({
      ...chain,
      rules: chain.rules.map((one) => (one.id === id ? weaker : one)),
    })),
  }));
}

/** The same ruleset with the policy of base chain `name` turned to accept, for the same purpose. Throws if it drops nothing. */
export function withoutPolicy(ruleset: Ruleset, name: string): Ruleset {
  const dropping = ruleset.flatMap(({ chains }) => chains).filter((chain) => chain.base?.includes("policy drop"));
  if (!dropping.some((chain) => chain.name === name)) throw new RangeError(`no chain ${name} that drops by policy`);
  return ruleset.map((table) => ({
    ...table,
    chains: table.chains.map((chain) =>
      chain.name === name && chain.base !== undefined
        ? { ...chain, base: chain.base.replace("policy drop", "policy accept") }
        : chain,
    ),
  }));
}

export function ruleIds(ruleset: Ruleset): string[] {
  return ruleset.flatMap((table) => table.chains.flatMap((chain) => chain.rules.map((rule) => rule.id)));
}

function renderTable({ family, name, sets, chains }: Table): string {
  // Adding a table that exists changes nothing, so the deletion always has something to delete.
  return [
    `table ${family} ${name}`,
    `delete table ${family} ${name}`,
    `table ${family} ${name} {`,
    ...sets.flatMap(renderSet),
    ...chains.flatMap(renderChain),
    "}",
    "",
  ].join("\n");
}

function renderSet({ name, properties, elements }: NftSet): string[] {
  const content = elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`];
  return [`  set ${name} {`, ...properties.map((property) => `    ${property}`), ...content, "  }"];
}

function renderChain({ name, base, rules }: Chain): string[] {
  return [
    `  chain ${name} {`,
    ...(base === undefined ? [] : [`    ${base}`]),
    ...rules.map(({ text, id }) => `    ${text} comment "${id}"`),
    "  }",
  ];
}
