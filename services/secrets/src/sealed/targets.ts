import { isUtf8 } from "node:buffer";
import { fail } from "../errors.ts";

/** Where a secret goes in the guest. */
export type Target =
  | { readonly kind: "file" }
  | { readonly kind: "environment"; readonly variable: string }
  | { readonly kind: "configuration"; readonly pointer: string };

/** A secret's name and target: what two secrets of one guest must not share. */
export interface Placed {
  readonly name: string;
  readonly target: Target;
}

/** What the agent or the image decides itself, or what would change which code the workload's programs load. */
const reservedVariable = /^(PATH|HOME|NODE_OPTIONS|LD_.*)$/;
/** What the agent writes into the configuration itself. */
const reservedField = /^\/(tenant|vmId|generation)(\/|$)/;
/** Names that mean something else to JavaScript than a field of an object. */
const unsafeSegment = /\/(__proto__|constructor|prototype)(\/|$)/;

/** The text that a store keeps of a target, such as `environment:API_KEY`. */
export function encodeTarget(target: Target): string {
  if (target.kind === "file") return "file";
  return target.kind === "environment" ? `environment:${target.variable}` : `configuration:${target.pointer}`;
}

/** Reads what `encodeTarget` wrote; throws `TypeError` for anything else. */
export function decodeTarget(text: string): Target {
  const [, kind, place = ""] = /^([a-z]+)(?::(.+))?$/.exec(text) ?? [];
  if (kind === "file") return { kind };
  if (kind === "environment" && place !== "") return { kind, variable: place };
  if (kind === "configuration" && place !== "") return { kind, pointer: place };
  throw new TypeError("column target is not a known target");
}

/** Throws TARGET_RESERVED for a place that is not an operator's to fill. */
export function refuseReservedTarget(target: Target): void {
  const isReserved =
    target.kind === "environment"
      ? reservedVariable.test(target.variable)
      : target.kind === "configuration" && (reservedField.test(target.pointer) || unsafeSegment.test(target.pointer));
  if (!isReserved) return;
  throw fail("TARGET_RESERVED", "a secret cannot go there", { metadata: { field: "target" } });
}

/** True if both cannot be in one guest: the same name, the same place, or a place inside the other's. */
export function collide(one: Placed, other: Placed): boolean {
  if (one.name === other.name) return true;
  const [a, b] = [one.target, other.target];
  if (a.kind === "environment" && b.kind === "environment") return a.variable === b.variable;
  if (a.kind !== "configuration" || b.kind !== "configuration") return false;
  const [inner, outer] = a.pointer.length >= b.pointer.length ? [a.pointer, b.pointer] : [b.pointer, a.pointer];
  return inner === outer || inner.startsWith(`${outer}/`);
}

/** Only a file can hold any bytes. */
export function needsText(target: Target): boolean {
  return target.kind !== "file";
}

/** Throws VALUE_NOT_TEXT unless `bytes` are UTF-8 without a NUL, which no environment can hold. Makes no string of them. */
export function refuseBinary(bytes: Uint8Array): void {
  if (isUtf8(bytes) && !bytes.includes(0)) return;
  throw fail("VALUE_NOT_TEXT", "a value in the environment or the configuration has to be UTF-8 text without NUL");
}
