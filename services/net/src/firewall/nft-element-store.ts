import { ProcessFailed, type ProcessRunner } from "../host/process.ts";
import type { ElementName, ListedElement } from "../netlink/nft-element.ts";
import { encodeKey, type Key, keyText } from "../netlink/nft-key.ts";
import type { ElementChange } from "../netlink/nftables.ts";
import { tableName } from "../slots/address-plan.ts";
import { type ElementStore, ElementsRefused, type RefusalReason } from "./element-store.ts";
import { readSetListing } from "./nft-set-listing.ts";

const table = `inet ${tableName}`;

/** What nft prints is strerror's text, in the C locale. */
const reasons: readonly (readonly [RegExp, RefusalReason])[] = [
  [/No such file or directory/, "no-such-set"],
  [/Too many open files in system/, "set-full"],
  [/File exists|interval overlaps/, "overlap"],
];

/** Sets by nft processes: for hosts on which libc cannot be called. Each call costs milliseconds, more the larger the sets. */
export function nftElementStore(runner: ProcessRunner): ElementStore {
  async function list(set: string): Promise<ListedElement[]> {
    return readSetListing(await nft(runner, ["-n", "-j", "list", "set", ...table.split(" "), set]));
  }
  return {
    async change(changes) {
      if (changes.length === 0) return;
      await nft(runner, ["-f", "-"], `${changes.flatMap(commandsOf).join("\n")}\n`);
    },
    list,
    async find(names) {
      const sets = [...new Set(names.map(({ set }) => set))];
      const listed = new Map(await Promise.all(sets.map(async (set) => [set, byKey(await list(set))] as const)));
      return names.map(({ set, key, keyEnd }) => listed.get(set)?.get(keyText(key, keyEnd)));
    },
    generation: () => undefined,
  };
}

async function nft(runner: ProcessRunner, parameters: readonly string[], input?: string): Promise<string> {
  try {
    return await runner.run(["nft", ...parameters], input === undefined ? {} : { input });
  } catch (error) {
    // Status 1 is nft's or the kernel's refusal. A process that was killed may have been heard.
    if (!(error instanceof ProcessFailed) || error.status !== 1) throw error;
    const reason = reasons.find(([text]) => text.test(error.stderr))?.[1] ?? "other";
    throw new ElementsRefused(reason, error.message, error);
  }
}

function byKey(elements: readonly ListedElement[]): ReadonlyMap<string, ListedElement> {
  return new Map(elements.map((element) => [keyText(element.key, element.keyEnd), element]));
}

function commandsOf(change: ElementChange): string[] {
  const { element } = change;
  const key = expression(element);
  const limit = "limit" in element ? element.limit : undefined;
  const own = limit === undefined ? "" : ` limit rate ${limit.ratePerSecond}/second burst ${limit.burst} packets`;
  const add = `add element ${table} ${element.set} { ${key}${own} }`;
  if (change.kind === "add") return [add];
  // Deleting what is absent would fail the whole transaction. Adding it first, which no packet ever sees, makes that safe.
  const absent = ["add", "delete"].map((verb) => `${verb} element ${table} ${element.set} { ${key} }`);
  return change.kind === "delete" ? absent : [...absent, add];
}

function expression({ key, keyEnd }: ElementName): string {
  // Refuses what is no value of its type before it can become a word of nft's language.
  encodeKey(key);
  if (keyEnd !== undefined) encodeKey(keyEnd);
  return key.map((part, index) => field(part, keyEnd?.[index] ?? part)).join(" . ");
}

function field(part: Key[number], end: Key[number]): string {
  const [first, last] = [part, end].map(({ type, value }) => (type === "ifname" ? `"${value}"` : `${value}`));
  return first === last ? `${first}` : `${first}-${last}`;
}
