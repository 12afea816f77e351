import { printable } from "./printable.ts";

/** A column: its heading and the cell of a row. */
export interface Column<T> {
  readonly heading: string;
  readonly cell: (row: T) => string;
  /** Numbers end where the column ends. */
  readonly isRight?: true;
}

/** Rows in aligned columns under their headings, every cell printable. */
export function renderTable<T>(columns: ReadonlyArray<Column<T>>, rows: readonly T[]): string {
  const lines = [
    columns.map(({ heading }) => heading),
    ...rows.map((row) => columns.map(({ cell }) => printable(cell(row)) || "-")),
  ];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => (line[index] ?? "").length)));
  return lines.map((line) => `${alignLine(line, columns, widths)}\n`).join("");
}

/** Names and values, one pair a line, the values aligned. A pair without a value is left out. */
export function renderFields(fields: ReadonlyArray<readonly [name: string, value: string]>): string {
  const given = fields.filter(([, value]) => value !== "");
  const width = Math.max(0, ...given.map(([name]) => name.length));
  return given.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}\n`).join("");
}

function alignLine(
  cells: readonly string[],
  columns: ReadonlyArray<{ readonly isRight?: true }>,
  widths: readonly number[],
): string {
  return cells
    .map((cell, index) => {
      const width = widths[index] ?? 0;
      return columns[index]?.isRight ? cell.padStart(width) : cell.padEnd(width);
    })
    .join("  ")
    .trimEnd();
}
