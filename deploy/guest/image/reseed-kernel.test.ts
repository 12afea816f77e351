import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { reseedKernelProgram } from "./reseed-kernel.ts";

const permissionDenied = 1;
const notATypewriter = 25;
const skip = process.platform === "linux" && process.arch === "x64" ? false : "the program is for Linux on x86-64";

test("the kernel takes a new key for whoever may ask for it, and anything else is an error", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-reseed-"));
  const program = join(directory, "reseed-kernel");
  writeFileSync(program, reseedKernelProgram(), { mode: 0o700 });
  const statusWith = (path: string) => {
    const input = openSync(path, "r");
    try {
      return spawnSync(program, [], { stdio: [input, "ignore", "inherit"], timeout: 10_000 }).status;
    } finally {
      closeSync(input);
    }
  };
  try {
    assert.equal(statusWith("/dev/urandom"), process.getuid?.() === 0 ? 0 : permissionDenied);
    assert.equal(statusWith(program), notATypewriter);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
