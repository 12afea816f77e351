import type { ProcessRunner } from "../host/process.ts";

/** A repeatable sequence of whole numbers below `bound`. */
export type Random = (bound: number) => number;

export function randomFrom(seed: number): Random {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % bound;
  };
}

interface Place {
  readonly family: string;
  readonly chain: string;
  readonly handle: string;
}

const table = "inet lobsterd";
const hostRules = ["counter", "accept", "counter drop", 'iifname "lob-0" accept', "ct state new accept"];
const slotRules = ["counter", "counter drop"];
const foreignElements = [
  'guests { "lob-3" . 06:00:0a:c9:00:07 . 10.201.0.7 }',
  'reachable { "lob-3" . 10.201.0.7 }',
  'internet { "lob-2" }',
  'internet { "lob-3" }',
  'resolving { "lob-3" }',
  'sending { "lob-3" limit rate 9000/second burst 5 packets }',
  'listed { "lob-2" . 9.9.9.0/24 . tcp . 0-65535 }',
];

/**
 * Somebody who is root on the host: deletes or adds one rule or one element of the host's rules. Returns whether a rule was
 * added, which may accept what nothing accepted before.
 */
export async function harmHost(host: ProcessRunner, random: Random): Promise<boolean> {
  const kind = random(4);
  if (kind === 0) await deleteRule(host, random);
  else if (kind === 1) await addRule(host, random, hostRules);
  else if (kind === 2) await deleteElement(host, random);
  else await nft(host, `add element ${table} ${foreignElements[random(foreignElements.length)]}`);
  return kind === 1;
}

/** The same in a slot's namespace: a rule less there may let through what the host alone holds off then. */
export async function harmSlot(slot: ProcessRunner, random: Random): Promise<void> {
  if (random(2) === 0) await deleteRule(slot, random);
  else await addRule(slot, random, slotRules);
}

async function deleteRule(runner: ProcessRunner, random: Random): Promise<void> {
  const rules = await listRules(runner);
  const rule = rules[random(rules.length)];
  if (rule === undefined) return;
  await nft(runner, `delete rule ${rule.family} lobsterd ${rule.chain} handle ${rule.handle}`);
}

async function addRule(runner: ProcessRunner, random: Random, texts: readonly string[]): Promise<void> {
  const chains = [...new Set((await listRules(runner)).map(({ family, chain }) => `${family} lobsterd ${chain}`))];
  const chain = chains[random(chains.length)];
  if (chain === undefined || !chain.startsWith("inet")) return;
  await nft(runner, `${random(2) === 0 ? "add" : "insert"} rule ${chain} ${texts[random(texts.length)]}`);
}

async function deleteElement(host: ProcessRunner, random: Random): Promise<void> {
  const sets = ["guests", "reachable", "sending", "receiving", "opening", "internet", "resolving"];
  const set = sets[random(sets.length)];
  const listed = await host.run(["nft", "list", "set", "inet", "lobsterd", set ?? ""]).catch(() => "");
  const elements = [...listed.matchAll(/("lob-\d+"(?: \. [0-9a-f.:]+)*)/g)].map((match) => match[1]);
  const element = elements[random(Math.max(1, elements.length))];
  if (element !== undefined) await nft(host, `delete element ${table} ${set} { ${element} }`);
}

async function listRules(runner: ProcessRunner): Promise<Place[]> {
  const text = await runner.run(["nft", "--handle", "list", "ruleset"]);
  const places: Place[] = [];
  let [family, name, chain] = ["", "", ""];
  for (const line of text.split("\n")) {
    const heading = /^table (\S+) (\S+) \{/.exec(line);
    if (heading !== null) [family, name] = [heading[1] ?? "", heading[2] ?? ""];
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    const handle = /^\t\t.* # handle (\d+)$/.exec(line)?.[1];
    if (handle !== undefined && name === "lobsterd") places.push({ family, chain, handle });
  }
  return places;
}

// A rule or element may be gone by the time it is touched: the service repairs while this harms.
async function nft(runner: ProcessRunner, command: string): Promise<void> {
  await runner.run(["nft", ...command.split(" ")]).catch(() => undefined);
}
