import assert from "node:assert/strict";
import { test } from "node:test";
import { commands } from "./commands.ts";
import { exitStatus } from "./failure.ts";
import { commonOptions } from "./parse.ts";
import { runCommand } from "./testing/run-command.ts";

test("help names every command and every exit status", async () => {
  const { status, stdout, stderr } = await runCommand(["--help"]);
  assert.deepEqual([status, stderr], [0, ""]);
  for (const { name, summary } of commands) assert.match(stdout, new RegExp(`^  ${name}\\b.*  ${summary}$`, "m"), name);
  for (const value of Object.values(exitStatus)) assert.match(stdout, new RegExp(`^  ${value} `, "m"));
  assert.equal((await runCommand(["help"])).stdout, stdout);
});

for (const { name, options, operands } of commands) {
  test(`lobster ${name} --help names its operands and options, and calls nothing`, async () => {
    const { status, stdout } = await runCommand([...name.split(" "), "--help"], { isConfigured: true });
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^usage: lobster ${name}\\b`));
    for (const operand of operands) assert.match(stdout, new RegExp(`^  ${operand.name} +${operand.help}`, "m"));
    for (const option of [...Object.keys(options), "json", "timeout"])
      assert.match(stdout, new RegExp(`^  (-., )?--${option}\\b`, "m"), option);
    assert.equal((await runCommand(["help", ...name.split(" ")])).stdout, stdout);
  });
}

test("a group and a topic have help", async () => {
  const group = await runCommand(["secret", "--help"]);
  assert.equal(group.status, 0);
  assert.match(group.stdout, /secret put TENANT NAME/);
  assert.doesNotMatch(group.stdout, /audit/);
  assert.match((await runCommand(["help", "configuration"])).stdout, /config\.json/);
});

test("no command, half of one and an unknown one are wrong usage", async () => {
  for (const words of [[], ["secret"]]) {
    const { status, stdout, stderr } = await runCommand(words);
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^usage: lobster/);
  }
  for (const words of [["spwan"], ["secret", "get"], ["help", "spwan"]])
    assert.match((await runCommand(words)).stderr, /there is no command .*\(USAGE\)/);
  assert.equal((await runCommand(["ls", "--timeout", "soon"])).status, 2);
  assert.deepEqual(JSON.parse((await runCommand(["--json", "spwan"])).stderr).error.reason, "USAGE");
});

test("options of every command may stand before it", async () => {
  const { status, stdout } = await runCommand(["--timeout", "5", "--ca", "ls", "--json", "ls", "-q"]);
  assert.deepEqual([status, JSON.parse(stdout)], [0, { tenants: [] }]);
});

test("an option is a switch or takes a value wherever it occurs, and no command has one that all have", () => {
  const kinds = new Map<string, boolean>();
  for (const { name, options } of commands) {
    for (const [option, { value }] of Object.entries(options)) {
      assert.ok(!(option in commonOptions), `${name} --${option}`);
      assert.equal(kinds.get(option) ?? value !== undefined, value !== undefined, `${name} --${option}`);
      kinds.set(option, value !== undefined);
    }
  }
});

test("a command without configuration says what is missing; one that needs none does not ask for it", async () => {
  const away = { isConfigured: true, environment: { HOME: "/nonexistent" } } as const;
  const { status, stderr } = await runCommand(["ls"], away);
  assert.equal(status, 2);
  assert.match(stderr, /--grpc \(or \$LOBSTERD_GRPC\) is missing.*help configuration/);
  assert.equal((await runCommand(["completion", "bash"], away)).status, 0);
});
