import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { entropyBits, testPrefix } from "./rules.ts";
import { digestOf, scanText } from "./scan-text.ts";

const main = new URL("./main.ts", import.meta.url).pathname;
const root = mkdtempSync(join(tmpdir(), "scan-"));
after(() => rmSync(root, { recursive: true }));

// Made here and not written here: the scanner searches this file too.
const letters = (length: number) =>
  randomBytes(2 * length)
    .toString("base64")
    .replaceAll(/[+/=]/g, "x")
    .slice(0, length);
const hex = (bytes: number) => randomBytes(bytes).toString("hex");
const upper = (length: number) => `${hex(length).toUpperCase()}`.replaceAll(/[^0-9A-F]/g, "A").slice(0, length);
const begin = (kind: string) => `-----BEGIN ${kind}PRIVATE KEY-----`;

const planted: Record<string, string> = {
  "private key": `${begin("")}\n${letters(64)}\n${letters(64)}\n`,
  "EC private key in a string": `const pem = "${begin("EC ")}\\n${letters(64)}\\n";`,
  "AWS access key": `id = AKIA${upper(16)}`,
  "GitHub token": `ghp_${letters(36)}`,
  "npm token": `//registry/:_authToken=npm_${letters(36)}`,
  "Slack token": `xoxb-${letters(24)}`,
  "Google API key": `AIza${letters(35)}`,
  "Stripe key": `sk_live_${letters(24)}`,
  "model provider key": `sk-ant-api03-${letters(40)}`,
  "Telegram bot token": `123456789:AA${letters(33)}`,
  "Vault token": `hvs.${letters(30)}`,
  "JSON web token": `eyJ${letters(20)}.eyJ${letters(30)}.${letters(43)}`,
  "password in a URL": `postgres://user:${letters(12)}@db.internal/x`,
  "quoted assignment": `export const defaults = { apiKey: "${letters(32)}1a" };`,
  "hexadecimal token": `gatewayToken = '${hex(24)}'`,
  "environment file": `OPENAI_API_KEY=${letters(40)}1a`,
};

test("credentials of every kind are found, in whatever text they stand", () => {
  for (const [what, text] of Object.entries(planted)) {
    assert.ok(scanText(`first line\n${text}\nlast line`).length > 0, what);
    assert.equal(scanText(`first line\n${text}\nlast line`)[0]?.line, 2, what);
  }
});

test("names, words, placeholders, digests and test values are none", () => {
  for (const text of [
    'text.includes("-----BEGIN PRIVATE KEY-----")',
    'const token = "gateway-token-of-the-tenant";',
    'secretName: "database-password-primary"',
    "const apiKey = process.env.OPENAI_API_KEY;",
    `sha256: "${hex(32)}"`,
    `"integrity": "sha512-${randomBytes(64).toString("base64")}"`,
    `token: "${testPrefix}${letters(32)}1a"`,
    `https://user:${"$"}{password}@host/`,
    `API_TOKEN=${"$"}{TOKEN_OF_THE_PIPELINE_RUN}`,
  ]) {
    assert.deepEqual(scanText(text), [], text);
  }
});

test("entropy is 0 for one letter, and high for random text", () => {
  assert.equal(entropyBits("aaaaaaaa"), 0);
  assert.ok(entropyBits(hex(32)) > 3.3);
});

const author = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"];

function repositoryWith(...commits: { files?: Record<string, string>; message?: string }[]): string {
  const directory = mkdtempSync(join(root, "repository-"));
  const git = (...parameters: string[]) =>
    execFileSync("git", ["-C", directory, ...author, ...parameters], { timeout: 20_000, stdio: "pipe" });
  git("init", "--quiet");
  for (const { files = {}, message = "change" } of commits) {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    git("add", "--all");
    git("commit", "--quiet", "--allow-empty", "--message", message);
  }
  return directory;
}

function scan(repository: string, reviewed: readonly object[] = []) {
  const path = join(mkdtempSync(join(root, "reviewed-")), "reviewed.json");
  writeFileSync(path, JSON.stringify(reviewed));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [main, "--repository", repository, "--reviewed", path],
    { encoding: "utf8", timeout: 60_000 },
  );
  return { status, stdout, stderr };
}

test("--help explains and searches nothing, and a wrong option is wrong usage", () => {
  const run = (option: string) => spawnSync(process.execPath, [main, option], { encoding: "utf8", timeout: 60_000 });
  const help = run("--help");
  assert.deepEqual([help.status, help.stderr], [0, ""]);
  assert.match(help.stdout, /^usage: node deploy\/scan\/main\.ts.*--reviewed FILE/s);
  assert.doesNotMatch(help.stdout, /searched, \d/);
  const wrong = run("--wrong");
  assert.deepEqual([wrong.status, wrong.stdout], [2, ""]);
  assert.match(wrong.stderr, /--wrong.*usage:/s);
});

test("a key in a past commit fails, though it is gone from the files, and the report does not repeat it", () => {
  const key = `ghp_${letters(36)}`;
  const repository = repositoryWith(
    { files: { "defaults.ts": `export const key = "${key}";\n` } },
    { files: { "defaults.ts": "export const key = undefined;\n" } },
  );
  const { status, stdout, stderr } = scan(repository);
  assert.equal(status, 1);
  assert.match(stdout, /1 credentials found/);
  assert.match(stderr, /^defaults\.ts:1 \([0-9a-f]{12}\): GitHub token, sha256 [0-9a-f]{64}$/m);
  assert.equal(`${stdout}${stderr}`.includes(key), false);
  const review = { sha256: digestOf(key), rule: "GitHub token", why: "made for this test and of no use" };
  assert.equal(scan(repository, [review]).status, 0, "what was reviewed is allowed");
  assert.equal(scan(repository, [{ ...review, rule: "npm token" }]).status, 1, "as what it was reviewed as only");
});

test("a key in a commit message, in the index or in a file that is not added yet fails too", () => {
  const text = `token=hvs.${letters(30)}`;
  assert.equal(scan(repositoryWith({ message: `deploy with ${text}` })).status, 1);
  const repository = repositoryWith({ files: { a: "x" } });
  assert.equal(scan(repository).status, 0);
  writeFileSync(join(repository, "b"), text);
  assert.equal(scan(repository).status, 1);
  execFileSync("git", ["-C", repository, "add", "b"], { timeout: 20_000 });
  rmSync(join(repository, "b"));
  assert.equal(scan(repository).status, 1);
});

test("a shallow clone is refused, and an unpacked archive is searched as it is", () => {
  const repository = repositoryWith({ files: { a: "1" } }, { files: { a: "2" } });
  const shallow = join(root, "shallow");
  execFileSync("git", ["clone", "--quiet", "--depth", "1", `file://${repository}`, shallow], { timeout: 20_000 });
  const refused = scan(shallow);
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /the history is shallow/);
  const archive = join(root, "archive");
  mkdirSync(archive);
  writeFileSync(join(archive, "a"), "nothing");
  const clean = scan(archive);
  assert.equal(clean.status, 0);
  assert.match(clean.stdout, /no git repository here/);
  writeFileSync(join(archive, "b"), `AIza${letters(35)}`);
  assert.equal(scan(archive).status, 1);
});
