import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { checkout } from "../../client/stack-env.ts";
import { type Command, UsageError } from "../command.ts";
import { exitStatus } from "../failure.ts";

const verifier = join(checkout, "services/audit/src/verify/main.ts");

export const auditVerify: Command = {
  name: "audit verify",
  summary: "verify a copy of the audit log with its public key and a witness's checkpoints",
  operands: [],
  options: {
    log: { value: "PATH", help: "records.log, a directory with it, or an exported copy" },
    "verifier-key": { value: "KEY", help: "verifier key of the log, or a file with it; not from the host itself" },
    checkpoints: {
      value: "PATH",
      help: "signed notes that the witness kept: a file or a directory",
      isRepeatable: true,
    },
  },
  notes: `It asks no service: services/audit/src/verify does it, with nothing but this checkout and Node.
The exit status is 0 if the log is what was signed, 1 if it is not, or could not be verified; the text says which.`,
  async run(words, { io, wantsJson, signal }) {
    const log = words.text("log");
    const key = words.text("verifier-key");
    const checkpoints = words.texts("checkpoints");
    if (log === undefined || key === undefined || checkpoints.length === 0)
      throw new UsageError("--log, --verifier-key and --checkpoints are needed");
    const given = ["--log", log, "--key", key, ...checkpoints.flatMap((path) => ["--checkpoints", path])];
    const child = spawn(process.execPath, [verifier, ...given, ...(wantsJson ? ["--json"] : [])], {
      stdio: ["ignore", "pipe", "pipe"],
      signal,
    });
    const ended = once(child, "close");
    const copy = async (from: AsyncIterable<Uint8Array>, to: typeof io.output) => {
      for await (const chunk of from) await to.write(chunk);
    };
    await Promise.all([copy(child.stdout, io.output), copy(child.stderr, io.errors), ended]);
    return child.exitCode === 0 ? exitStatus.ok : exitStatus.failed;
  },
};
