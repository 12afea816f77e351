import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { freePort } from "@lobsterd/chassis/testing-free-port.ts";
import { type Injected, InjectedSecrets } from "./injected-secrets.ts";
import { SecretFiles } from "./secret-files.ts";
import { Tracer } from "./tracer.ts";
import { Workload } from "./workload.ts";
import { PointerError, WorkloadConfiguration } from "./workload-configuration.ts";

const user = { uid: 65534, gid: 65534 };
const limits = { timeoutMs: 30_000, intervalMs: 20 };
const hash = (text: string) => createHash("sha256").update(text).digest("hex");

/** Answers with its pid and digests of a variable and a field, and does not end by SIGTERM when told so. */
const program = `
  const { createHash } = require("crypto"), hash = (text) => createHash("sha256").update(text ?? "").digest("hex");
  if (process.env.STUBBORN) process.on("SIGTERM", () => undefined);
  const { models } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  require("http").createServer((request, response) => response.end(JSON.stringify({
    pid: process.pid, key: hash(process.env.KEY), field: hash(models?.key), home: process.env.HOME,
  }))).listen(Number(process.argv[2]), "127.0.0.1");
`;

let directory: string;
let port: number;
let workload: Workload;
let secrets: InjectedSecrets;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), "injected-"));
  // The workload's user has to reach its configuration.
  chownSync(directory, user.uid, user.gid);
  mkdirSync(join(directory, "configuration"));
  const configurationPath = join(directory, "configuration", "configuration.json");
  writeFileSync(configurationPath, `${JSON.stringify({ tenant: "demo" })}\n`, { mode: 0o444 });
  port = await freePort();
  const manifest = {
    ...{ command: [process.execPath, "-e", program, configurationPath, `${port}`], user, port, healthPath: "/" },
    ...{ configurationPath, environment: { HOME: "/" } },
  };
  workload = new Workload(manifest, new Tracer());
  secrets = new InjectedSecrets(
    new SecretFiles(join(directory, "secrets"), user),
    new WorkloadConfiguration(configurationPath, user),
    workload,
  );
});
after(async () => {
  await workload.stop(1000);
  rmSync(directory, { recursive: true });
});

const file = (name: string, value: string): Injected => ({
  name,
  value: Buffer.from(value),
  target: { kind: "file" },
});
const variable = (name: string, value: string): Injected => ({
  name: name.toLowerCase(),
  value: Buffer.from(value),
  target: { kind: "environment", variable: name },
});
const field = (pointer: string, value: string): Injected => ({
  name: "field",
  value: Buffer.from(value),
  target: { kind: "configuration", pointer },
});

interface Answer {
  readonly pid: number;
  readonly key: string;
  readonly field: string;
  readonly home: string;
}

async function answered(wanted: (answer: Answer) => boolean): Promise<Answer> {
  return await waitFor(
    "the workload to answer as wanted",
    async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/`)
        .then(async (response) => (await response.json()) as Answer)
        .catch(() => undefined);
      return answer !== undefined && wanted(answer) ? answer : undefined;
    },
    limits,
  );
}

test("secrets reach file, environment and configuration; only the last two ask for a restart", async () => {
  assert.equal(
    await secrets.replace([file("f", "1"), variable("KEY", "one"), field("/models/key", "a")]),
    "restart-needed",
  );
  await workload.restart(1000, undefined);
  const first = await answered(({ key }) => key === hash("one"));
  assert.equal(first.field, hash("a"));
  assert.equal(first.home, "/", "the image's own variables stay");
  assert.deepEqual(readdirSync(join(directory, "secrets")), ["f"], "a variable is no file");
  const configuration = statSync(join(directory, "configuration", "configuration.json"));
  assert.equal(configuration.mode & 0o777, 0o400);
  assert.equal(configuration.uid, user.uid);

  assert.equal(await secrets.replace([file("f", "2"), variable("KEY", "one"), field("/models/key", "a")]), "in-place");
  assert.equal(readFileSync(join(directory, "secrets", "f"), "utf8"), "2");
  assert.equal((await answered(() => true)).pid, first.pid);

  assert.equal(await secrets.replace([variable("KEY", "two"), field("/models/key", "a")]), "restart-needed");
  await workload.restart(1000, undefined);
  const second = await answered(({ key }) => key === hash("two"));
  assert.notEqual(second.pid, first.pid);
  assert.deepEqual(readdirSync(join(directory, "secrets")), []);

  assert.equal(await secrets.replace([variable("KEY", "two")]), "restart-needed");
  await workload.restart(1000, undefined);
  assert.equal(
    (await answered(({ pid }) => pid !== second.pid)).field,
    hash(""),
    "a field that is not bound any more is gone",
  );
  await waitFor("healthy", async () => (workload.state === "healthy" ? true : undefined), limits);
});

test("secrets that are forgotten are in no file, and the same set again is in place and restarts nothing", async () => {
  const set = [file("f", "canary-file"), variable("KEY", "two"), field("/models/key", "canary-field")];
  await secrets.replace(set);
  await workload.restart(1000, undefined);
  const before = await answered(({ field }) => field === hash("canary-field"));
  const held = openSync(join(directory, "secrets", "f"), "r");
  await secrets.forget();
  await secrets.forget();
  const bytes = Buffer.alloc(11, 1);
  assert.equal(readSync(held, bytes, 0, 11, 0), 11);
  closeSync(held);
  assert.ok(bytes.equals(Buffer.alloc(11)), "what was freed holds zeros");
  assert.deepEqual(readdirSync(join(directory, "secrets")), []);
  const configurationPath = join(directory, "configuration", "configuration.json");
  assert.equal(readFileSync(configurationPath, "utf8"), '{"tenant":"demo"}\n');
  assert.equal(await secrets.replace(set), "in-place");
  assert.match(readFileSync(configurationPath, "utf8"), /canary-field/);
  assert.equal((await answered(() => true)).pid, before.pid);
  await secrets.forget();
  assert.equal(await secrets.replace([variable("KEY", "two")]), "restart-needed", "a change is still seen");
  await workload.restart(1000, undefined);
  await answered(({ pid }) => pid !== before.pid);
});

test("a set that does not fit the configuration changes nothing", async () => {
  await assert.rejects(secrets.replace([file("g", "1"), field("/tenant/x", "a")]), PointerError);
  assert.deepEqual(readdirSync(join(directory, "secrets")), []);
  assert.equal(await secrets.replace([variable("KEY", "two")]), "in-place");
});

test("a workload that does not end by itself is killed, and its end is no failure", async () => {
  const before = await answered(() => true);
  await secrets.replace([variable("KEY", "three"), variable("STUBBORN", "yes")]);
  await workload.restart(1000, undefined);
  const stubborn = await answered(({ pid }) => pid !== before.pid);
  await secrets.replace([variable("KEY", "four")]);
  await workload.restart(100, undefined);
  assert.notEqual((await answered(({ key }) => key === hash("four"))).pid, stubborn.pid);
  await waitFor("healthy", async () => (workload.state === "healthy" ? true : undefined), limits);
});

test("a workload that was stopped is not started again", async () => {
  await workload.stop(1000);
  await waitFor("its end", async () => (workload.state === "failed" ? true : undefined), limits);
  await workload.restart(1000, undefined);
  assert.equal(workload.state, "failed");
});
