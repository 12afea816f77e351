import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { runCommand } from "./testing/run-command.ts";

const { stdout: script } = await runCommand(["completion", "bash"]);

/** What bash offers for a line whose last word is being typed. `lobster ls` answers with two tenants. */
function complete(...words: string[]): readonly string[] {
  const program = `
    lobster() { [[ "$*" == "ls --quiet"* ]] && printf 'mia\\nnoa\\n'; }
    ${script}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lobster; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync("bash", ["--norc", "-c", program, "bash", "lobster", ...words], {
    encoding: "utf8",
    timeout: 30_000,
  });
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout.trim().split("\n");
}

test("commands and their groups are completed", () => {
  const first = complete("");
  for (const word of ["spawn", "secret", "audit", "completion", "help"]) assert.ok(first.includes(word), word);
  assert.equal(first.filter((word) => word === "secret").length, 1);
  assert.deepEqual(complete("sec"), ["secret"]);
  assert.deepEqual(complete("secret", ""), ["put", "ls", "rm", "bind", "rotate-root"]);
  assert.deepEqual(complete("--timeout", "5", "--json", "hos"), ["host"]);
  assert.deepEqual(complete("completion", ""), ["bash"]);
});

test("tenants are completed where a tenant stands, and nowhere else", () => {
  assert.deepEqual(complete("get", ""), ["mia", "noa"]);
  assert.deepEqual(complete("secret", "put", "n"), ["noa"]);
  assert.deepEqual(complete("secret", "put", "noa", ""), [""]);
  assert.deepEqual(complete("spawn", ""), [""]);
  assert.deepEqual(complete("exec", "mia", "--", ""), [""]);
});

test("options are those of the command and of every command; their choices are completed", () => {
  const options = complete("logs", "mia", "--");
  for (const option of ["--follow", "--source", "--json"]) assert.ok(options.includes(option), option);
  assert.ok(!options.includes("--image"));
  assert.deepEqual(complete("logs", "--source", ""), ["agent", "workload"]);
  assert.deepEqual(complete("logs", "--source", "agent", "m"), ["mia"]);
});

test("an option's value that is a file is completed as a file", () => {
  assert.deepEqual(complete("secret", "put", "mia", "key", "--from", "/etc/host"), [
    ...complete("audit", "export", "--to", "/etc/host"),
  ]);
  assert.ok(complete("--config", "/etc/hostn").includes("/etc/hostname"));
});
