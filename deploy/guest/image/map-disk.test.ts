import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mapDiskProgram } from "./map-disk.ts";

const skip = process.platform !== "linux" || process.arch !== "x64" ? "the program is for Linux on x86-64" : false;
const create = Buffer.from([0x03, 0xfd, 0x38, 0xc1]);

/** Exit status for a drive that ends with `requests`, where descriptor 3 takes no ioctl at all. */
function run(requests: Buffer): number | null {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-map-disk-"));
  try {
    const [program, drive] = [join(directory, "map-disk"), join(directory, "drive")];
    writeFileSync(program, mapDiskProgram(), { mode: 0o755 });
    writeFileSync(drive, Buffer.concat([Buffer.alloc(4096, 0xff), requests]));
    const [input, control] = [openSync(drive, "r"), openSync("/dev/null", "r+")];
    try {
      return spawnSync(program, { stdio: [input, "ignore", "ignore", control] }).status;
    } finally {
      for (const descriptor of [input, control]) closeSync(descriptor);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("zeros are no request, and what comes before them is not read", { skip }, () => {
  assert.equal(run(Buffer.alloc(3072)), 0);
});

test("a request that the kernel refuses is a failure, whichever it is", { skip }, () => {
  for (const index of [0, 1, 2]) {
    const requests = Buffer.alloc(3072);
    create.copy(requests, index * 1024);
    assert.equal(run(requests), 1, `request ${index}`);
  }
});
