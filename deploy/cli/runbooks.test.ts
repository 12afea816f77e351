import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkout } from "../client/stack-env.ts";
import { commands } from "./commands.ts";
import { parse } from "./parse.ts";

const text = readFileSync(join(checkout, "docs/runbooks.md"), "utf8");

/** Commands of fences and of code in a line, without what a shell does with them. */
function commandsIn(markdown: string): string[] {
  const fence = /^ *```sh\n(.*?)^ *```$/gms;
  const lines = [...markdown.matchAll(fence)].flatMap(([, body = ""]) => body.split("\n"));
  const inline = [...markdown.replaceAll(fence, "").matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);
  return [...lines, ...inline].map((line) => line.replace(/(?: +#| *[|>]| +2>).*/, "").trim());
}

const wordsOf = (command: string): string[] =>
  [...command.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);

const all = commandsIn(text).map(wordsOf);
const of = (program: string): string[][] => all.filter(([first]) => first === program).map(([, ...words]) => words);

test("every lobster command of the runbooks is one, with options and operands that it takes", () => {
  const given = of("lobster").filter(([first = "help"]) => first !== "help");
  assert.ok(given.length > 30, `${given.length} commands`);
  for (const words of given) {
    const line = `lobster ${words.join(" ")}`;
    assert.doesNotThrow(() => parse(words, commands), line);
    assert.ok(parse(words, commands).command, line);
  }
  assert.throws(() => parse(["egress", "mia", "--reach", "none"], commands), "a wrong option would be noticed");
});

for (const page of ["deploy/cli/README.md", "deploy/systemd/README.md"])
  test(`every lobster command of ${page} is one, with options and operands that it takes`, () => {
    const given = commandsIn(readFileSync(join(checkout, page), "utf8"))
      .map((command) => wordsOf(command.replace(/^npx /, "")))
      .filter(([program, first = "help"]) => program === "lobster" && !/^(help|COMMAND|-.*)$/.test(first));
    assert.ok(given.length > 3, `${given.length} commands`);
    for (const [, ...words] of given) {
      const line = words.join(" ");
      // One that is only named has no operands.
      if (!commands.some(({ name }) => name === line)) assert.ok(parse(words, commands).command, `lobster ${line}`);
    }
  });

test("every action that is asked of the audit log is written by somebody", () => {
  const sources = globSync(["proto/lobsterd/**/*.proto", "services/*/src/**/*.ts"], { cwd: checkout })
    .filter((path) => !/\.(test|ablation)\.ts$/.test(path))
    .map((path) => readFileSync(join(checkout, path), "utf8"))
    .join("\n");
  const actions = new Set(
    [...sources.matchAll(/\brpc (\w+)\(|\baction: "(\w+)"/g)].map(([, method, action]) => method ?? action),
  );
  const asked = of("lobster").flatMap((words) =>
    words.includes("--action") ? [words[words.indexOf("--action") + 1]] : [],
  );
  assert.ok(asked.length > 8);
  assert.deepEqual(
    asked.filter((action) => !actions.has(action ?? "")),
    [],
  );
});

test("every make target and every program of this checkout that the runbooks name is there", () => {
  const makefile = readFileSync(join(checkout, "Makefile"), "utf8");
  const targets = new Set([...makefile.matchAll(/^([a-z-]+):/gm)].map(([, target]) => target));
  assert.deepEqual(
    of("make").filter(([target]) => !targets.has(target)),
    [],
  );
  const programs = of("node").map(([path = ""]) => path);
  assert.ok(programs.length > 0);
  assert.deepEqual(
    programs.filter((path) => !existsSync(join(checkout, path))),
    [],
  );
});

test("every link to a section of the runbooks leads to one", () => {
  const anchors = new Set(
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading.toLowerCase().replaceAll(" ", "-")),
  );
  const links = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor = ""]) => anchor);
  assert.deepEqual(
    links.filter((anchor) => !anchors.has(anchor)),
    [],
  );
});
