/** One row of the table of processes in docs/architecture.md. */
export interface PrivilegeRow {
  readonly process: string;
  readonly user: string;
  /** Sorted, without the `CAP_` prefix. */
  readonly capabilities: readonly string[];
}

/** The rows of the first table below `## Processes` whose process is one name in code quotes. */
export function parsePrivilegeTable(markdown: string): PrivilegeRow[] {
  const section = markdown.split(/^## /m).find((part) => part.startsWith("Processes\n"));
  if (section === undefined) throw new Error("the document has no section Processes");
  return section.split("\n").flatMap((line) => {
    const [, process, user, capabilities] = line.split("|").map((cell) => cell.trim());
    const name = process?.match(/^`([a-z-]+)`$/)?.[1];
    if (name === undefined || user === undefined || capabilities === undefined) return [];
    const names = capabilities === "none" ? [] : capabilities.replaceAll("`", "").split(" ").sort();
    return [{ process: name, user: user.replaceAll("`", ""), capabilities: names }];
  });
}
