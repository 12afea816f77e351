/**
 * Runs tiers of tests and prints one closing line for all of them: `N passed, N failed, N skipped`. A skipped test is listed
 * by name with its reason; a tier that ran no test fails.
 */
import { cpSync, globSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { parseArgs } from "node:util";
import { describeInstance } from "../dev/instance.ts";
import { testInstance, withTestStack } from "./stack.ts";
import { addCounts, countEvents, type TierCounts } from "./tier-counts.ts";

interface Tier {
  readonly patterns: readonly string[];
  readonly exclude: RegExp;
  /** Files at once: tests that share the machine's cores with guests run one after the other. */
  readonly concurrency: number;
  /** Files that run beside the others, one after the other: they start no guest and look at nothing that is the whole machine's. */
  readonly beside?: RegExp;
  readonly needsStack: boolean;
  /** Of one test, in ms. */
  readonly limitMs?: number;
}

const inDependencies = /node_modules/;
const tiers: Readonly<Record<string, Tier>> = {
  unit: {
    patterns: ["services/**/*.test.ts", "deploy/**/*.test.ts"],
    exclude: /node_modules|\.host\.test\.ts$/,
    concurrency: 3,
    needsStack: false,
  },
  host: {
    patterns: ["{services,deploy}/**/*.host.test.ts"],
    exclude: inDependencies,
    concurrency: 1,
    beside: /^services\/(audit|chassis|proxy|secrets)\//,
    needsStack: false,
  },
  e2e: { patterns: ["deploy/e2e/*.story.ts"], exclude: inDependencies, concurrency: 1, needsStack: true },
  nightly: {
    patterns: ["{services,deploy}/**/*.nightly.ts"],
    exclude: inDependencies,
    concurrency: 1,
    needsStack: true,
    limitMs: 3_600_000, // 200 sleeps take 8 to 18 minutes
  },
  device: {
    patterns: ["deploy/e2e/*.device.ts"],
    exclude: inDependencies,
    concurrency: 1,
    needsStack: false, // each brings one up on a device
    limitMs: 3_600_000,
  },
  ablation: {
    patterns: ["{services,deploy}/**/*.ablation.ts"],
    exclude: inDependencies,
    concurrency: 1,
    needsStack: false,
  },
};

const usualLimitMs = 900_000;
/** Every test file is a process: what they all import is stripped and compiled once. */
const compileCache = ".cache/compiled";

const usage = `usage: main.ts [--only TEXT] [--name PATTERN] <tier>...

tiers: ${Object.keys(tiers).join(" ")}
  --only TEXT     files whose path has TEXT in it
  --name PATTERN  of those, tests whose name matches the regular expression

When a test with a stack fails, the logs of that stack are kept in .cache/failed-TIER.
`;

interface Choice {
  readonly only: string;
  readonly name: string | undefined;
}

async function runTier(name: string, tier: Tier, choice: Choice): Promise<TierCounts> {
  const files = tier.patterns
    .flatMap((pattern) => globSync(pattern))
    .filter((file) => !tier.exclude.test(file) && file.includes(choice.only))
    .sort();
  process.stdout.write(`\n== ${name}: ${files.length} files\n`);
  const lanes = [files.filter((file) => !tier.beside?.test(file)), files.filter((file) => tier.beside?.test(file))];
  const counts = await Promise.all(lanes.filter((lane) => lane.length > 0).map((lane) => runFiles(lane, tier, choice)));
  return addCounts(counts);
}

async function runFiles(
  files: readonly string[],
  { concurrency, limitMs = usualLimitMs }: Tier,
  { name: testName }: Choice,
): Promise<TierCounts> {
  const named = testName === undefined ? {} : { testNamePatterns: [new RegExp(testName)] };
  const stream = run({ files, concurrency, timeout: limitMs, ...named });
  const counts = countEvents(stream);
  stream.compose(spec).pipe(process.stdout, { end: false });
  return await counts;
}

/** The stack's logs go with it; those of a run in which something failed say why. */
async function keepingLogs(name: string, inTier: () => Promise<TierCounts>): Promise<TierCounts> {
  const counts = await inTier();
  if (counts.failed > 0) {
    const kept = resolve(".cache", `failed-${name}`);
    rmSync(kept, { recursive: true, force: true });
    cpSync(join(describeInstance(testInstance).runDir, "log"), kept, { recursive: true });
    process.stdout.write(`the stack's logs are kept in ${kept}\n`);
  }
  return counts;
}

async function main(parameters: readonly string[]): Promise<number> {
  const { positionals: names, values } = parseArgs({
    args: [...parameters],
    options: {
      only: { type: "string", default: "" },
      name: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
    allowPositionals: true,
  });
  process.env.NODE_COMPILE_CACHE ??= resolve(compileCache);
  const unknown = names.filter((name) => !(name in tiers));
  if (values.help || names.length === 0 || unknown.length > 0) {
    (values.help ? process.stdout : process.stderr).write(usage);
    return values.help ? 0 : 2;
  }
  const choice = { only: values.only, name: values.name };
  const results = new Map<string, TierCounts>();
  for (const name of names) {
    const tier = tiers[name];
    if (tier === undefined) continue;
    const inTier = () => runTier(name, tier, choice);
    results.set(name, tier.needsStack ? await withTestStack(() => keepingLogs(name, inTier)) : await inTier());
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  process.stdout.write("\n");
  for (const [name, { passed, failed, skipped }] of results) {
    process.stdout.write(`${name}: ${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
    for (const line of skipped) process.stdout.write(`  skipped: ${line}\n`);
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped.length;
  }
  const empty = [...results].filter(([, { passed, failed }]) => passed + failed === 0).map(([name]) => name);
  if (empty.length > 0) process.stdout.write(`no test ran in: ${empty.join(", ")}\n`);
  process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  return total.failed > 0 || empty.length > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
