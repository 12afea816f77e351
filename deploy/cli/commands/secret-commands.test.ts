import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fakeStack } from "../testing/fake-stack.ts";
import { runCommand } from "../testing/run-command.ts";

const value = "lobsterd-test-value";

test("secret put takes the value from standard input, without its last line feed", async () => {
  const stack = fakeStack();
  const { status, stdout } = await runCommand(["secret", "put", "mia", "api-key"], { stack, input: `${value}\n` });
  assert.deepEqual([status, stdout], [0, "stored api-key, version 1\n"]);
  assert.equal(stack.secretValues.get("mia/api-key"), value);
  const again = await runCommand(["secret", "put", "mia", "api-key", "--json"], { stack, input: `${value}\n\n` });
  assert.equal(stack.secretValues.get("mia/api-key"), `${value}\n`);
  assert.doesNotMatch(again.stdout + again.stderr, new RegExp(value));
  assert.partialDeepStrictEqual(JSON.parse(again.stdout), {
    secret: { tenant: "mia", name: "api-key", version: 2, deliveries: [] },
  });
});

test("secret put takes the value from a file", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobster-test-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "value");
  writeFileSync(file, value);
  const stack = fakeStack();
  await runCommand(["secret", "put", "@shared", "model-key", "--from", file], { stack });
  assert.equal(stack.secretValues.get("/model-key"), value);
  const missing = await runCommand(["secret", "put", "mia", "key", "--from", join(directory, "none")], { stack });
  assert.equal(missing.status, 1);
});

test("a value as an argument, an empty one, a typed one and one of more than 64 KiB are refused", async () => {
  const stack = fakeStack();
  const put = ["secret", "put", "mia", "key"];
  assert.equal((await runCommand([...put, value], { stack })).status, 2);
  assert.equal((await runCommand(put, { stack, input: "\n" })).status, 2);
  assert.equal((await runCommand(put, { stack, isTerminal: true, input: value })).status, 2);
  assert.equal((await runCommand(put, { stack, input: "x".repeat(65_537) })).status, 2);
  assert.equal(stack.secrets.size, 0);
  assert.equal((await runCommand(put, { stack, input: `${"x".repeat(65_536)}\n` })).status, 0);
});

test("secret bind says where: a file, a variable or a field", async () => {
  const stack = fakeStack();
  const bind = async (...more: string[]) => (await runCommand(["secret", "bind", ...more], { stack })).stdout;
  assert.equal(await bind("mia", "key"), "bound key to /run/secrets/key\n");
  assert.equal(await bind("mia", "key", "--file"), "bound key to /run/secrets/key\n");
  assert.equal(await bind("mia", "key", "--variable", "API_KEY"), "bound key to $API_KEY\n");
  assert.equal(await bind("mia", "key", "--pointer", "/models/key"), "bound key to configuration /models/key\n");
  await bind("@shared", "key", "--label", "plan=paid");
  assert.partialDeepStrictEqual(stack.secrets.get("/key")?.label, { key: "plan", value: "paid" });
  for (const wrong of [
    ["mia", "key", "--file", "--variable", "A"],
    ["mia", "key", "--label", "a=b"],
    ["@shared", "key"],
  ])
    assert.equal((await runCommand(["secret", "bind", ...wrong], { stack })).status, 2, wrong.join(" "));
});

test("secret rotate-root says which root key is retired", async () => {
  const { status, stdout } = await runCommand(["secret", "rotate-root"]);
  assert.equal(status, 0);
  assert.equal(stdout, "root key root-2 in place of root-1, tenants' keys wrapped anew: 3\n");
});

test("secret ls lists one owner's secrets, and secret rm destroys one", async () => {
  const stack = fakeStack();
  await runCommand(["secret", "bind", "mia", "key", "--variable", "API_KEY"], { stack });
  await runCommand(["secret", "put", "noa", "other"], { stack, input: value });
  const { stdout } = await runCommand(["secret", "ls", "mia"], { stack });
  assert.match(stdout, /^NAME +VERSION +TARGET +LABEL +CURRENT +UPDATED\nkey +1 +\$API_KEY +- +- +-\n$/);
  const { secrets } = JSON.parse((await runCommand(["secret", "ls", "mia", "--json"], { stack })).stdout);
  assert.deepEqual(secrets[0].target, { environment: { variable: "API_KEY" } });
  assert.equal((await runCommand(["secret", "rm", "mia", "key"], { stack })).stdout, "destroyed key\n");
  assert.deepEqual([...stack.secrets.keys()], ["noa/other"]);
});

test("token prints the token and nothing else", async () => {
  const { stdout } = await runCommand(["token", "mia"]);
  assert.equal(stdout, "lobsterd-test-token-of-mia\n");
  const json = await runCommand(["token", "mia", "--json"]);
  assert.deepEqual(JSON.parse(json.stdout), { tenant: "mia", token: "lobsterd-test-token-of-mia" });
});
