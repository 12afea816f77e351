/** `inspect` and `verify`: what a sealed file says of itself, and whether all of it is as it was sealed. Needs no service. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { inspectSet, openSet, SealBrokenError } from "./open-set.ts";

const usage = `usage: inspect-main.ts inspect FILE
       inspect-main.ts verify --data-key KEYFILE FILE

  inspect   prints the header as JSON; nothing of it is proved
  verify    opens every chunk with the 32 bytes in KEYFILE and writes nothing
  --help    this text

exit code: 0 done, 1 the file is not whole and true, 2 wrong usage
`;

async function main(parameters: readonly string[]): Promise<number> {
  const { positionals, values } = parseArgs({
    args: [...parameters],
    options: { "data-key": { type: "string" }, help: { type: "boolean", short: "h", default: false } },
    allowPositionals: true,
  });
  const [verb, path, ...rest] = positionals;
  const keyPath = values["data-key"];
  const isComplete = path !== undefined && rest.length === 0 && (verb === "inspect") !== (keyPath !== undefined);
  if (values.help || !isComplete || (verb !== "inspect" && verb !== "verify")) {
    (values.help ? process.stdout : process.stderr).write(usage);
    return values.help ? 0 : 2;
  }
  try {
    const header =
      keyPath === undefined
        ? await inspectSet(path)
        : await openSet(
            path,
            async () => readKey(keyPath),
            async () => {},
          );
    process.stdout.write(`${JSON.stringify(header, undefined, 2)}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof SealBrokenError)) throw error;
    process.stderr.write(`${path}: ${error.fault}: ${error.message}\n`);
    return 1;
  }
}

function readKey(path: string): Uint8Array {
  const key = readFileSync(path);
  if (key.length !== 32) throw new RangeError(`${path} does not hold 32 bytes`);
  return key;
}

process.exitCode = await main(process.argv.slice(2));
