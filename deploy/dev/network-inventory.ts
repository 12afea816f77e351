import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { run } from "./command.ts";

/** A network namespace by the file that holds it; without a path, the one of this process. */
export interface Namespace {
  readonly name: string;
  readonly path: string | undefined;
}

const factsScript = fileURLToPath(new URL("./namespace-facts.sh", import.meta.url));
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

/** Links, tables, sets with every element, a digest of each chain's rules, and guests' connections of all `namespaces`. */
export async function listNetworks(namespaces: readonly Namespace[]): Promise<string[]> {
  const half = Math.ceil(namespaces.length / 2);
  const parts = [namespaces.slice(0, half), namespaces.slice(half)].filter((part) => part.length > 0);
  const texts = await Promise.all(parts.map(printFacts));
  return texts.flatMap(describeFacts);
}

async function printFacts(namespaces: readonly Namespace[]): Promise<string> {
  const pairs = namespaces.flatMap(({ name, path }) => [name, path ?? "-"]);
  const { stdout } = await run(["/bin/sh", factsScript, ...pairs], { maxOutputBytes, timeoutMs: 120_000 });
  return stdout;
}

/** The lines of what `namespace-facts.sh` prints. */
export function describeFacts(text: string): string[] {
  return text.split(/^@@ /m).flatMap((section) => {
    const end = section.indexOf("\n");
    const [part, namespace = ""] = section.slice(0, end).split(" ");
    const body = section.slice(end + 1);
    switch (part) {
      case "links":
        return linkSchema.parse(JSON.parse(body)).map(({ ifname }) => `link ${namespace} ${ifname}`);
      case "rules":
        return describeRuleset(namespace, body);
      case "connections":
        return describeConntrack(namespace, body);
      case "unreadable":
        return [`namespace ${namespace} cannot be read`];
      default:
        return [];
    }
  });
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
