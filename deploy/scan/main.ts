/**
 * Searches the whole history for credentials: every version of every file that HEAD reaches, every commit message, and the files as they are now. What
 * was committed once is public for ever, so the fix for a finding is to exchange the credential. `reviewed.json` lists what was looked at and is none.
 */
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { isRepository, run } from "./git.ts";
import { historyObjects } from "./history.ts";
import { type Finding, scanText } from "./scan-text.ts";

const root = new URL("../..", import.meta.url).pathname;
const reviewedSchema = z.array(
  z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), rule: z.string(), why: z.string().min(10) }),
);

const usage = `usage: node deploy/scan/main.ts [options]
   or: make scan

Searches the whole history, the index and the files as they are now for credentials. Changes nothing.

  --repository DIR   default this checkout
  --reviewed FILE    findings that were looked at and are none, default deploy/scan/reviewed.json
  --help             this text

Exit status: 0 if there is none, 1 for a finding or a history that is not whole, 2 for a wrong option.
`;

interface Place {
  readonly path: string;
  /** Object id in git, or `now` for a file as it is. */
  readonly version: string;
  readonly text: string;
}

async function* filesNow(repository: string, hasHistory: boolean): AsyncGenerator<Place> {
  const paths = hasHistory
    ? (await run(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")).split("\0")
    : globSync("**/*", { cwd: repository, exclude: (name) => /^(node_modules|\.cache|\.run)$/.test(name) });
  for (const path of new Set(paths)) {
    const status = path === "" ? undefined : statSync(join(repository, path), { throwIfNoEntry: false });
    if (status?.isFile() !== true) continue;
    yield { path, version: "now", text: readFileSync(join(repository, path), "latin1") };
  }
}

async function* placesOf(repository: string): AsyncGenerator<Place> {
  const hasHistory = await isRepository(repository);
  if (hasHistory) {
    for await (const { id, path, content } of historyObjects(repository)) {
      yield { path, version: id.slice(0, 12), text: content.toString("latin1") };
    }
  } else {
    process.stdout.write("no git repository here: only the files as they are now are searched\n");
  }
  yield* filesNow(repository, hasHistory);
}

function parse(parameters: readonly string[]) {
  return parseArgs({
    args: [...parameters],
    options: {
      repository: { type: "string", default: root },
      reviewed: { type: "string", default: join(root, "deploy/scan/reviewed.json") },
      help: { type: "boolean", short: "h" },
    },
  }).values;
}

async function main(parameters: readonly string[]): Promise<number> {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(parameters);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return 2;
  }
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const reviewed = new Set(
    reviewedSchema
      .parse(JSON.parse(readFileSync(values.reviewed, "utf8")))
      .map(({ sha256, rule }) => `${rule} ${sha256}`),
  );
  const found = new Map<string, Finding & Place>();
  let count = 0;
  for await (const place of placesOf(values.repository)) {
    count += 1;
    for (const finding of scanText(place.text)) {
      const key = `${finding.rule} ${finding.sha256}`;
      if (!reviewed.has(key) && !found.has(key)) found.set(key, { ...finding, ...place });
    }
  }
  for (const { path, version, line, rule, sha256 } of found.values()) {
    process.stderr.write(`${path}:${line} (${version}): ${rule}, sha256 ${sha256}\n`);
  }
  process.stdout.write(`${count} file versions and commits searched, ${found.size} credentials found\n`);
  return found.size === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
