/**
 * The stories of sleep once more, with the state directory on a block device of its own, which is then searched from end to end: also what was deleted
 * on it, and what the file system keeps between files. The runner's stack lives in a mount namespace, so an instance that is up is not disturbed.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { stateRoot } from "../dev/instance.ts";
import { Marker } from "./canary/search.ts";
import { markerStart } from "./sleep/marker.ts";

const run = promisify(execFile);
const deviceBytes = 8 * 1024 ** 3;
const maxOutputBytes = 16 * 1024 ** 2;
/** Characters of the runner's output, whose end says what failed. */
const shownOfFailure = 20_000;
/** $1 is the device, $2 where it belongs, $3 a text to be deleted, and the rest the runner. */
const onDevice = `set -eu
device=$1 directory=$2 deleted=$3
shift 3
mount "$device" "$directory"
status=0
"$@" || status=$?
printf %s "$deleted" >"$directory/deleted"
sync
rm "$directory/deleted"
umount "$directory"
exit $status`;

let directory: string;
let device: string | undefined;
let refusal = "";

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "state-device-"));
  const image = join(directory, "device.img");
  writeFileSync(image, "");
  truncateSync(image, deviceBytes);
  await run("mkfs.ext4", ["-q", image]);
  try {
    device = (await run("losetup", ["--find", "--show", image])).stdout.trim();
  } catch (error) {
    refusal = String(error);
  }
});

after(async () => {
  if (device !== undefined) await run("losetup", ["--detach", device]);
  rmSync(directory, { recursive: true, force: true });
});

for (const [story, tier] of [
  ["sleep.story", "e2e"],
  ["sleep-kills", "nightly"],
] as const) {
  test(`what a tenant had in memory and on disk is nowhere on the device after ${story}`, async (t) => {
    if (device === undefined) return t.skip(`needs a loop device: ${refusal}`);
    // Written to the device at the end and deleted: what the search has to find.
    const deleted = `device-canary-${randomBytes(16).toString("hex")}`;
    mkdirSync(stateRoot, { recursive: true });
    const runner = [process.execPath, "deploy/test/main.ts", "--only", `e2e/${story}`, tier];
    const script = ["sh", "-c", onDevice, "sh", device, stateRoot, deleted, ...runner];
    // The runner of tests tells its children that they are its own; this one is not.
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
    const { stdout } = await run("unshare", ["--mount", "--propagation", "private", ...script], {
      env: { SLEEP_KILL_ROUNDS: "1", ...env },
      maxBuffer: maxOutputBytes,
    }).catch((error: { stdout?: string }) => assert.fail(String(error.stdout ?? error).slice(-shownOfFailure)));
    t.diagnostic(stdout.trim().split("\n").at(-1) ?? "");
    assert.ok(new Marker("SuspendTenant").isInFile(device), "the stack's audit log is not found, so it was elsewhere");
    assert.ok(new Marker(deleted).isInFile(device), "what is deleted is not found, so the search shows nothing");
    assert.equal(new Marker(markerStart).isInFile(device), false);
  });
}
