import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** What a terminal would obey, or what would look like other lines or other words than there are. */
const controls = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
/** The end of the year 9999, which is where the range of a timestamp ends. */
const lastSecond = 253_402_300_799n;

/** A guest's line, safe to print: a control character becomes `\uXXXX`. */
export function printable(line: string): string {
  return line.replace(controls, (control) => `\\u${(control.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`);
}

/** A guest's time, if it is one. */
export function timeOf(time: Timestamp | undefined): Timestamp | undefined {
  if (time === undefined || time.seconds < 0n || time.seconds > lastSecond) return undefined;
  if (time.nanos < 0 || time.nanos > 999_999_999) return undefined;
  return create(TimestampSchema, { seconds: time.seconds, nanos: time.nanos });
}
