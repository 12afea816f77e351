import { run } from "./command.ts";
import { describeInstance } from "./instance.ts";
import { privileges, processSpecs } from "./processes.ts";
import { readAccounts } from "./users.ts";

/** Exits 0, or prints why the path cannot be opened or connected to. */
const openScript = `
const [kind, path] = process.argv.slice(-2);
const done = (error) => { process.stdout.write(error?.code ?? "ok"); process.exit(0); };
if (kind === "connect") require("node:net").connect(path).on("connect", () => done()).on("error", done);
else require("node:fs").open(path, "r+", done);
`;

/** Tries as the process of that user would: with its supplementary groups and capabilities. */
export function openAs(user: string, kind: "connect" | "open" | "read", path: string): Promise<string> {
  const spec = processSpecs(describeInstance("dev")).find((one) => one.user === user && one.name !== "forwarder");
  const plain = { user, supplementaryGroups: [], capabilities: [] };
  return openWith(privileges(spec ?? plain, readAccounts()), kind, path);
}

/** The same with a given `setpriv` call. */
export async function openWith(
  prefix: readonly string[],
  kind: "connect" | "open" | "read",
  path: string,
): Promise<string> {
  if (kind === "read") {
    const { status, stderr } = await run([...prefix, "head", "--bytes=1", path], { allowFailure: true });
    return status === 0 ? "ok" : stderr.includes("Permission denied") ? "EACCES" : stderr;
  }
  const { stdout } = await run([...prefix, process.execPath, "-e", openScript, "--", kind, path]);
  return stdout;
}
