/** The tenant's disk as the host has it, with real guests. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decryptSectors } from "@lobsterd/vm/launcher/disk-cipher.ts";
import type { RunResult } from "../probe/run.ts";
import { type BareGuest, bootTrustDomain, firstHttpAnswerMs, startBareGuest, withDisk } from "./bare-boot.ts";
import type { Leaf } from "./boot-authority.ts";
import { callFront } from "./boot-client.ts";
import { buildImage } from "./image.ts";

const repository = new URL("../../..", import.meta.url).pathname;
const out = `${repository}.cache/images`;
/** Boots share two cores with whatever else runs: this bounds a hang, it measures nothing. */
const bootLimitMs = 180_000;
const marker = randomBytes(32).toString("hex");

const consoleLog = join(tmpdir(), `lobsterd-disk-${randomBytes(8).toString("hex")}.log`);

let guest: BareGuest;
let caddy: Leaf;

before(
  async () => {
    await buildImage("probe", { out, repository, force: false, progress: () => undefined });
    guest = await startBareGuest({ image: `${out}/probe`, consoleLog });
    caddy = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/caddy` });
    await firstHttpAnswerMs(guest, bootLimitMs);
  },
  { timeout: bootLimitMs + 120_000 },
);
after(async () => {
  await guest?.stop();
  rmSync(consoleLog, { force: true });
});

async function shell(script: string): Promise<string> {
  const body = JSON.stringify({ command: ["sh", "-c", script], timeoutMs: 60_000, user: "root" });
  const headers = { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) };
  const answer = await callFront(guest, { path: "/run", method: "POST", headers, body, leaf: caddy });
  assert.equal(answer.status, 200, answer.body);
  const { exitCode, stdout, stderr } = JSON.parse(answer.body) as RunResult;
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

const disk = () => readFileSync(guest.disk.path);
const opened = () => decryptSectors(guest.disk.key, 0, disk());
const digest = () => createHash("sha256").update(disk()).digest("hex");
/** Whole, its first and last half, and a name of a file. */
const forms = [marker, marker.slice(0, 32), marker.slice(32), "name-of-a-file"];
const found = (bytes: Buffer) => forms.filter((form) => bytes.includes(form));

test("what a guest wrote is on the host's disk under its key, and in no form without it", async () => {
  await shell(`echo ${marker} >$HOME/name-of-a-file && sync`);
  assert.deepEqual(found(opened()), forms, "the disk is not what the host opens with its key");
  assert.deepEqual(found(disk()), []);
});

test("the key is in no file and in no argument or environment of the guest", async () => {
  const key = guest.disk.key.toString("hex");
  const places = "/run/lobsterd-agent /run/workload /proc/cmdline /proc/[0-9]*/cmdline /proc/[0-9]*/environ";
  const text = await shell(
    `cat $(ls -d ${places}) $(ls -d /run/lobsterd-agent/* /run/workload/*) 2>/dev/null; echo end`,
  );
  assert.ok(text.endsWith("end\n") && text.includes("workload.js"));
  assert.ok(!text.includes(key) && !text.includes(key.slice(0, 64)) && !text.includes(key.slice(64)));
});

test("under another key the machine says why and ends, and the disk is as it was", {
  timeout: bootLimitMs,
}, async () => {
  await shell("sync");
  guest.process.kill("SIGKILL");
  await once(guest.process, "exit");
  const before = digest();
  writeFileSync(guest.disk.drivePath, withDisk(guest.disk.drive, randomBytes(64)));
  await guest.startAgain([]);
  await once(guest.process, "exit");
  assert.match(readFileSync(consoleLog, "utf8"), /the disk does not open with its key/);
  assert.equal(digest(), before);
});

test("under its own key the next boot finds the file", { timeout: bootLimitMs }, async () => {
  writeFileSync(guest.disk.drivePath, guest.disk.drive);
  await guest.startAgain([]);
  await firstHttpAnswerMs(guest, bootLimitMs);
  assert.equal(await shell("cat $HOME/name-of-a-file"), `${marker}\n`);
});

test("a plain disk, of before there were keys, opens as it is", { timeout: bootLimitMs }, async () => {
  await shell("sync");
  guest.process.kill("SIGKILL");
  await once(guest.process, "exit");
  writeFileSync(guest.disk.path, opened());
  writeFileSync(guest.disk.drivePath, withDisk(guest.disk.drive, undefined));
  await guest.startAgain([]);
  await firstHttpAnswerMs(guest, bootLimitMs);
  assert.equal(await shell("cat $HOME/name-of-a-file"), `${marker}\n`);
});
