import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { z } from "zod";
import { verbArguments } from "./protocol.ts";

/** Without the key of the disk, which is written nowhere. */
const recordSchema = verbArguments.prepare.omit({ diskKey: true }).extend({
  version: z.literal(1),
  /** The last one that was started; 0 before the first start, and in records of before there were generations. */
  generation: z.int().min(0).default(0),
});
export type VmRecord = z.infer<typeof recordSchema>;

const limitsSchema = verbArguments.start.pick({ vcpuCount: true, memoryMib: true });
/** Sizes of a VM's last start: what its process is compared with as long as it runs. */
export type VmLimits = z.infer<typeof limitsSchema>;

/** Writes a record that is not there yet; durable on return. */
export function writeRecord(file: string, record: VmRecord | VmLimits): void {
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

/** Replaces a record by another one: whatever happens, one of the two is there. Durable on return. */
export function replaceRecord(file: string, record: VmRecord): void {
  const directory = file.slice(0, file.lastIndexOf("/"));
  const next = `${directory}/next-record.json`; // in order of name before the record, which is deleted last
  rmSync(next, { force: true });
  writeRecord(next, record);
  renameSync(next, file);
  syncDirectory(directory);
}

/** The record, or undefined when there is none that can be read: a VM without one can still be listed and removed. */
export const readRecord = (file: string): VmRecord | undefined => read(file, recordSchema);
export const readLimits = (file: string): VmLimits | undefined => read(file, limitsSchema);

function read<T>(file: string, schema: z.ZodType<T>): T | undefined {
  if (!existsSync(file)) return undefined;
  try {
    return schema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Names in `directory` that are a vmId. */
export function vmIdsIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => verbArguments.inspect.shape.vmId.safeParse(name).success);
}

/** Makes names in a directory durable. */
export function syncDirectory(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
