import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { type Command, type Context, UsageError } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { printableLines } from "../printable.ts";
import { showValue } from "../show.ts";

export const auditExport: Command = {
  name: "audit export",
  summary: "copy the audit log into a file that audit verify reads",
  operands: [],
  options: { to: { value: "FILE", help: "the copy; what it has already is not fetched again" } },
  notes: "The checkpoint of what is in the copy is printed.",
  async run(words, context) {
    const path = words.text("to");
    if (path === undefined) throw new UsageError("--to is needed");
    const file = openSync(path, "a", 0o600);
    try {
      const signedNote = await copyInto(file, context);
      await showValue(context, { file: path, bytes: fstatSync(file).size, signedNote }, () =>
        printableLines(signedNote),
      );
    } finally {
      closeSync(file);
    }
    return exitStatus.ok;
  },
};

/** Appends what the file does not have; resolves with the checkpoint of the whole. */
async function copyInto(file: number, { clients, signal }: Context): Promise<string> {
  const startOffset = BigInt(fstatSync(file).size);
  let signedNote: string | undefined;
  for await (const { part } of clients.audit.exportRecords({ startOffset }, { signal })) {
    if (part.case === "log") append(file, part.value);
    if (part.case === "signedNote") signedNote = part.value;
  }
  if (signedNote === undefined) throw new Error("the export ended without its checkpoint: run it again to go on");
  return signedNote;
}

function append(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done);
}
