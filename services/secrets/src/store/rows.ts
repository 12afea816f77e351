import type { SealedValue } from "../envelope/sealed-value.ts";

/** One row as `node:sqlite` returns it. */
export type Row = Readonly<Record<string, unknown>>;

/** Reads a text column; throws if the store holds anything else. */
export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw new TypeError(`column ${column} is not text`);
  return value;
}

/** Reads a text column that may be NULL. */
export function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : text(row, column);
}

/** Reads an integer column. */
export function integer(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== "number") throw new TypeError(`column ${column} is not a number`);
  return value;
}

/** Reads an integer column that may be NULL. */
export function optionalInteger(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : integer(row, column);
}

/** Reads a blob column. */
export function blob(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw new TypeError(`column ${column} is not a blob`);
  return value;
}

/** Reads the four columns that hold a sealed value. */
export function sealedValue(row: Row): SealedValue {
  return {
    tenantKeyId: text(row, "tenant_key_id"),
    dataKeyId: text(row, "data_key_id"),
    wrappedDataKey: blob(row, "wrapped_data_key"),
    ciphertext: blob(row, "ciphertext"),
  };
}
