import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { z } from "zod";
import { verbArguments } from "./protocol.ts";

const recordSchema = verbArguments.prepare.extend({ version: z.literal(1) });
export type VmRecord = z.infer<typeof recordSchema>;

/** Writes a record that is not there yet; durable on return. */
export function writeRecord(file: string, record: VmRecord): void {
  const descriptor = openSync(file, "wx", 0o600);
  try {
    writeSync(descriptor, JSON.stringify(record));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  const directory = file.slice(0, file.lastIndexOf("/"));
  for (const path of [directory, directory.slice(0, directory.lastIndexOf("/"))]) syncDirectory(path);
}

/** The record, or undefined when there is none that can be read: a VM without one can still be listed and removed. */
export function readRecord(file: string): VmRecord | undefined {
  if (!existsSync(file)) return undefined;
  try {
    return recordSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Names in `directory` that are a vmId. */
export function vmIdsIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => verbArguments.inspect.shape.vmId.safeParse(name).success);
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
