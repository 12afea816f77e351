import { type DescEnum, type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Context } from "./command.ts";
import { jsonText } from "./printable.ts";

/** Shows an answer: as the JSON of its proto, with every field, or as `text`. */
export async function show<Desc extends DescMessage>(
  context: Context,
  schema: Desc,
  message: MessageShape<Desc>,
  text: () => string,
): Promise<void> {
  await showValue(context, toJson(schema, message, { alwaysEmitImplicit: true }), text);
}

/** The same for what is no message. */
export async function showValue({ io, wantsJson }: Context, value: unknown, text: () => string): Promise<void> {
  await io.output.write(wantsJson ? `${jsonText(value, 2)}\n` : text());
}

/** The same for one message of a stream: its JSON is one line. */
export async function showInStream<Desc extends DescMessage>(
  { io, wantsJson }: Context,
  schema: Desc,
  message: MessageShape<Desc>,
  text: () => string,
): Promise<void> {
  await io.output.write(wantsJson ? `${jsonText(toJson(schema, message, { alwaysEmitImplicit: true }), 0)}\n` : text());
}

/** A moment as ISO 8601 in UTC; empty if there is none. */
export function momentText(time: Timestamp | undefined): string {
  return time === undefined ? "" : timestampDate(time).toISOString();
}

/** A value of an enum as people say it, such as `not-applicable`. */
export function enumText(schema: DescEnum, value: number): string {
  return (schema.value[value]?.localName ?? "unknown").toLowerCase().replaceAll("_", "-");
}

/** Bytes with a binary unit, in at most eight characters. */
export function bytesText(bytes: bigint | number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = Number(bytes);
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value.toFixed(0) : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}
