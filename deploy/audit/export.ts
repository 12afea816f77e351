/** Takes a copy of the audit log of a running stack by ExportRecords, into a file that the verifier reads. Goes on where an earlier run ended. */
import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { connectStack } from "../client/clients.ts";
import { readStackEnv } from "../client/stack-env.ts";

const usage = `usage: export.ts --to FILE [--instance NAME]

  --to FILE        the copy; bytes that it has already are not fetched again
  --instance NAME  the stack, as make up wrote it into .run (default: dev)

The checkpoint of what is in the copy is printed. It comes from the host, so verify the copy with those that the witness kept.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      to: { type: "string" },
      instance: { type: "string", default: "dev" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help || values.to === undefined) {
    (values.help ? process.stdout : process.stderr).write(usage);
    return values.help ? 0 : 2;
  }
  const { audit } = connectStack(readStackEnv(values.instance));
  const file = openSync(values.to, "a", 0o600);
  try {
    const { size } = fstatSync(file);
    for await (const { part } of audit.exportRecords({ startOffset: BigInt(size) })) {
      if (part.case === "log") append(file, part.value);
      if (part.case === "signedNote") process.stdout.write(part.value);
    }
  } finally {
    closeSync(file);
  }
  return 0;
}

function append(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done);
}

process.exitCode = await main();
