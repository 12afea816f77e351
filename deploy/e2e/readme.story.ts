import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { checkout } from "../client/stack-env.ts";
import { env, evict } from "./subject.ts";

const run = promisify(execFile);
const lines = readFileSync(join(checkout, "README.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("grpcurl "));

after(() => evict("mia"));

/** Words of a shell line: variables of the stack's environment are filled in, single quotes hold a word together. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain = ""]) =>
    quoted === undefined ? plain.replaceAll(/\$([A-Z_]+)/g, (_, name: keyof typeof env) => env[name]) : quoted,
  );
}

/** The same call with `buf curl`, an independent gRPC client that comes from npm, as grpcurl itself does not. */
function asBufCurl(line: string): string[] {
  const options: string[] = [];
  const places: string[] = [];
  const argv = words(line).slice(1);
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (word.startsWith("-")) options.push(word === "-d" ? "-d" : `-${word}`, argv[++index] ?? "");
    else places.push(word);
  }
  const [address = "", method = ""] = places;
  if (method === "list") return ["curl", "--protocol", "grpc", ...options, "--list-services", `https://${address}`];
  if (!options.includes("-d")) options.push("-d", "{}");
  return ["curl", "--protocol", "grpc", ...options, `https://${address}/${method}`];
}

test("the README has examples", () => {
  assert.ok(lines.length >= 8, `${lines.length} lines`);
});

for (const line of lines) {
  test(`README: ${line.split(" ").at(-1)}`, async () => {
    const { stdout } = await run("buf", asBufCurl(line), { timeout: 120_000 });
    assert.notEqual(stdout.trim(), "");
  });
}
