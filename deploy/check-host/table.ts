import { blockers, type ControlRow, isUnmet, type PostureReport } from "@lobsterd/vm/posture/report.ts";

const headings = ["control", "verdict", "measured", "requirement", "remedy"] as const;
/** Characters; the last three share what a line leaves them. */
const idWidth = 11;
const verdictWidth = 14;
const gap = "  ";
const leastWidth = 20;

/** The report as an aligned table, cells wrapped so that a line has `lineWidth` characters, or more where that is too few to read. */
export function renderTable(report: PostureReport, lineWidth: number): string {
  const shared = Math.floor((lineWidth - idWidth - verdictWidth - 4 * gap.length) / 3);
  const widths = [idWidth, verdictWidth, ...Array.from({ length: 3 }, () => Math.max(leastWidth, shared))];
  const rule = widths.map((width) => "-".repeat(width)).join(gap);
  const lines = [
    ...renderRow(headings, widths),
    rule,
    ...report.rows.flatMap((row) => renderRow(cellsOf(row), widths)),
  ];
  return `${lines.join("\n")}\n\n${summaryOf(report)}\n`;
}

/** The report for programs: every field of every row. */
export function renderJson(report: PostureReport): string {
  const document = {
    checkTime: new Date(report.checkTimeMs).toISOString(),
    admitted: blockers(report).length === 0,
    blockers: blockers(report).map(({ id }) => id),
    controls: report.rows,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function cellsOf({ id, required, verdict, measured, requirement, remedy }: ControlRow): readonly string[] {
  return [required ? `${id} P0` : id, verdict, measured, requirement, isUnmet(verdict) ? remedy : ""];
}

function summaryOf(report: PostureReport): string {
  const counts = (["pass", "fail", "unknown", "waived", "not-applicable"] as const)
    .map((verdict) => `${report.rows.filter((row) => row.verdict === verdict).length} ${verdict}`)
    .join(", ");
  const ids = blockers(report).map(({ id }) => id);
  const verdict = ids.length === 0 ? "production admits tenants" : `production admits no tenant: ${ids.join(", ")}`;
  return `${counts}\n${verdict}`;
}

function renderRow(cells: readonly string[], widths: readonly number[]): readonly string[] {
  const columns = cells.map((cell, index) => wrap(cell, widths[index] ?? leastWidth));
  const height = Math.max(...columns.map(({ length }) => length));
  return Array.from({ length: height }, (_, line) =>
    columns
      .map((column, index) => (column[line] ?? "").padEnd(widths[index] ?? leastWidth))
      .join(gap)
      .trimEnd(),
  );
}

/** Lines of at most `width` characters, broken between words, and within a word that is longer than a line. */
function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((part) => part.match(new RegExp(`.{1,${width}}`, "g")) ?? [])) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
