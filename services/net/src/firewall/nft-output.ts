/** A table as nft lists it without the elements of its sets. */
export interface ListedTable {
  /** `inet lobsterd` */
  readonly key: string;
  /** By heading (`set guests`, `chain LOBSTER-RAW`), in nft's own words, counters left out. */
  readonly blocks: ReadonlyMap<string, string>;
}

/**
 * Reads `nft --stateless --terse list ruleset` and keeps the tables called `name`. The text form is used since it is complete: nft 1.0.6
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

function readTable(key: string, lines: readonly string[]): ListedTable {
  const blocks = new Map<string, string>();
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
    blocks.set(heading, lines.slice(at + 1, end).join("\n"));
    at = end + 1;
  }
  return { key, blocks };
}

function endOfBlock(lines: readonly string[], start: number, indent: string): number {
  const end = lines.indexOf(`${indent}}`, start);
  if (end < 0) throw unreadable(lines[start] ?? "");
  return end;
}

function unreadable(line: string): Error {
  return new Error(`nft printed something that is not understood: ${line.slice(0, 120)}`);
}
