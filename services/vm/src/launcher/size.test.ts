import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

/** Lines that are neither blank nor comment, by file: what somebody who reviews the launcher has to read. */
function codeLines(pattern: string): number {
  const files = globSync(pattern, { cwd: import.meta.dirname });
  const own = files.filter(
    (file) => !/(test|nightly|ablation|testing|testing-process|stub-subject|stub-launcher)\.ts$/.test(file),
  );
  assert.ok(own.length > 2, pattern);
  const lines = own.flatMap((file) => readFileSync(`${import.meta.dirname}/${file}`, "utf8").split("\n"));
  return lines.filter((line) => !/^\s*($|\/\/|\/?\*|#)/.test(line)).length;
}

test("the launcher's core with Firecracker, what it checks and chooses first, QEMU's jail and its templates each stay within their budget", (context) => {
  const core = codeLines("{*.ts,firecracker/*.{ts,sh}}");
  const choice = codeLines("{artifacts,choice}/*.{ts,sh}");
  const qemu = codeLines("qemu/*.{ts,sh}");
  const templates = codeLines("templates/*.ts");
  context.diagnostic(
    `${core} lines of core and Firecracker, ${choice} of artifacts and choice, ${qemu} of QEMU's jail, ${templates} of its templates`,
  );
  assert.ok(core <= 2_316, `${core} lines of core and Firecracker`);
  assert.ok(choice <= 800, `${choice} lines of artifacts and choice`);
  assert.ok(qemu <= 310, `${qemu} lines of QEMU's jail`);
  assert.ok(templates <= 230, `${templates} lines of templates`);
});
