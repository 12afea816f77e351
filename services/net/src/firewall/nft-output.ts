/** What one block of a listing (`set guests`, `chain LOBSTER-RAW`) holds besides a set's elements. */
export interface ListedTable {
  /** `inet lobsterd` */
  readonly key: string;
  /** By heading, in nft's own words, counters left out. */
  readonly blocks: ReadonlyMap<string, string>;
  /** By set name. */
  readonly elements: ReadonlyMap<string, readonly string[]>;
}

/**
 * Reads `nft -s list ruleset` and keeps the tables called `name`. The text form is used since it is complete: nft 1.0.6
 * leaves a netdev chain's device out of its JSON. Throws on text it does not understand, so that a change of
 * nft's output is an error and never "no difference".
 */
export function readTables(text: string, name: string): ReadonlyMap<string, ListedTable> {
  const tables = new Map<string, ListedTable>();
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? "";
    if (line.trim() === "" || line.startsWith("#")) {
      at += 1;
      continue;
    }
    const heading = /^table (\S+) (\S+) \{$/.exec(line);
    if (heading === null) throw unreadable(line);
    const end = endOfBlock(lines, at, "");
    if (heading[2] === name) {
      const key = `${heading[1]} ${name}`;
      tables.set(key, readTable(key, lines.slice(at + 1, end)));
    }
    at = end + 1;
  }
  return tables;
}

/** The elements that `nft --echo` says the kernel took, as `<set> <element>`. */
export function readAddedElements(text: string): ReadonlySet<string> {
  const added = new Set<string>();
  for (const [, set, elements] of text.matchAll(/^add element inet \S+ (\S+) \{ (.*) \}$/gm)) {
    for (const element of splitElements(elements ?? "")) added.add(`${set} ${element}`);
  }
  return added;
}

function readTable(key: string, lines: readonly string[]): ListedTable {
  const blocks = new Map<string, string>();
  const elements = new Map<string, readonly string[]>();
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? "";
    if (line.trim() === "") {
      at += 1;
      continue;
    }
    const heading = /^\t(\S.*) \{$/.exec(line)?.[1];
    if (heading === undefined) {
      // A table's own flags and comments, such as `flags dormant`, which would switch it off.
      blocks.set(line.trim(), "");
      at += 1;
      continue;
    }
    const end = endOfBlock(lines, at, "\t");
    const body = lines.slice(at + 1, end).join("\n");
    const listed = /^\t\telements = \{([^}]*)\}/m.exec(body);
    blocks.set(heading, listed === null ? body : body.replace(listed[0], "").trimEnd());
    if (heading.startsWith("set ")) elements.set(heading.slice(4), splitElements(listed?.[1] ?? ""));
    at = end + 1;
  }
  return { key, blocks, elements };
}

function endOfBlock(lines: readonly string[], start: number, indent: string): number {
  const end = lines.indexOf(`${indent}}`, start);
  if (end < 0) throw unreadable(lines[start] ?? "");
  return end;
}

function splitElements(text: string): string[] {
  return text
    .split(",")
    .map((element) => element.trim().replaceAll(/\s+/g, " "))
    .filter((element) => element !== "");
}

function unreadable(line: string): Error {
  return new Error(`nft printed something that is not understood: ${line.slice(0, 120)}`);
}
