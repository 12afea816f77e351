import { createHash } from "node:crypto";
import { z } from "zod";
import { run } from "./command.ts";

/** A network namespace by the file that holds it; without a path, the one of this process. */
export interface Namespace {
  readonly name: string;
  readonly path: string | undefined;
}

const maxOutputBytes = 64 * 1024 * 1024;
const linkSchema = z.array(z.object({ ifname: z.string() }));
const identified = z.looseObject({ family: z.string(), name: z.string() });
const setSchema = identified.extend({ table: z.string(), elem: z.array(z.unknown()).optional() });
const ruleSchema = z.looseObject({
  family: z.string(),
  table: z.string(),
  chain: z.string(),
  expr: z.array(z.unknown()),
});
const rulesetSchema = z.object({ nftables: z.array(z.record(z.string(), z.unknown())) });

/** Addresses that only guests have: everything else in the connection table is the services' own talk on loopback. */
const guestAddress = /(?:src|dst)=10\.(?:201|77)\./;

export async function listLinks(namespace: Namespace): Promise<string[]> {
  const { stdout } = await run(inside(namespace, ["ip", "-json", "link", "show"]), { maxOutputBytes });
  return linkSchema.parse(JSON.parse(stdout)).map(({ ifname }) => `link ${namespace.name} ${ifname}`);
}

/** Tables, sets with every element, and a digest of each chain's rules. */
export async function listRules(namespace: Namespace): Promise<string[]> {
  const { stdout } = await run(inside(namespace, ["nft", "--json", "--stateless", "list", "ruleset"]), {
    maxOutputBytes,
  });
  return describeRuleset(namespace.name, stdout);
}

/** The lines of a ruleset as `nft --json` prints it; counters, handles and time-outs are left out. */
export function describeRuleset(namespace: string, text: string): string[] {
  const lines: string[] = [];
  const chains = new Map<string, string[]>();
  for (const item of rulesetSchema.parse(JSON.parse(text)).nftables) {
    if ("table" in item) {
      const { family, name } = identified.parse(item["table"]);
      lines.push(`nft ${namespace} table ${family} ${name}`);
    }
    if ("chain" in item) {
      const { family, name, ...rest } = identified.parse(item["chain"]);
      chains.set(`${family} ${String(rest["table"])} ${name}`, []);
    }
    const set = item["set"] ?? item["map"];
    if (set !== undefined) lines.push(...describeSet(namespace, setSchema.parse(set)));
    if ("rule" in item) {
      const { family, table, chain, expr } = ruleSchema.parse(item["rule"]);
      chains.get(`${family} ${table} ${chain}`)?.push(JSON.stringify(expr));
    }
  }
  for (const [chain, rules] of chains) {
    const digest = createHash("sha256").update(rules.join("\n")).digest("hex").slice(0, 16);
    lines.push(`nft ${namespace} chain ${chain} ${rules.length} rules ${digest}`);
  }
  return lines;
}

function describeSet(namespace: string, set: z.infer<typeof setSchema>): string[] {
  const name = `nft ${namespace} set ${set.family} ${set.table} ${set.name}`;
  return [name, ...(set.elem ?? []).map((element) => `${name} element ${JSON.stringify(bareElement(element))}`)];
}

/** An element with a counter or a time-out is wrapped; a map's element is a pair of key and value. */
function bareElement(element: unknown): unknown {
  if (Array.isArray(element)) return element.map(bareElement);
  if (typeof element === "object" && element !== null && "elem" in element) {
    const { elem } = element;
    if (typeof elem === "object" && elem !== null && "val" in elem) return elem.val;
  }
  return element;
}

/** Tracked connections from or to guests. */
export async function listConntrack(namespace: Namespace): Promise<string[]> {
  const { stdout } = await run(inside(namespace, ["conntrack", "--dump"]), { maxOutputBytes });
  return describeConntrack(namespace.name, stdout);
}

/** Protocol and addresses of each guest connection; what changes by the second is left out. */
export function describeConntrack(namespace: string, text: string): string[] {
  return text
    .split("\n")
    .filter((line) => guestAddress.test(line))
    .map((line) => {
      const parts = line.split(/\s+/);
      const tuple = parts.filter((part) => /^(src|dst|sport|dport)=/.test(part));
      return `conntrack ${namespace} ${parts[0]} ${tuple.join(" ")}`;
    });
}

function inside(namespace: Namespace, command: readonly string[]): string[] {
  return namespace.path === undefined ? [...command] : ["nsenter", `--net=${namespace.path}`, "--", ...command];
}
