import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { type ExecTenantRequestSchema, TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

type Message = NonNullable<MessageInitShape<typeof ExecTenantRequestSchema>["message"]>;

function open() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness, records } = serveRun(host, database, run);
  const exec = async (messages: readonly Message[], caller: "role:operator" | "role:viewer" = "role:operator") => {
    const requests = async function* () {
      for (const message of messages) yield { message };
    };
    const answers = await Array.fromAsync(harness.as(caller, TenantService).execTenant(requests()));
    return answers.map(({ message }) =>
      message.case === "exitCode" ? message.value : `${message.case} ${Buffer.from(message.value ?? []).toString()}`,
    );
  };
  const refusal = (messages: readonly Message[], caller?: "role:viewer") =>
    exec(messages, caller).then(() => "none", reasonOf);
  return { ...run, records, exec, refusal };
}

const start = (name: string): Message => ({ case: "start", value: { name, command: ["echo", "hello"] } });

test("a command gets its input, and its caller what it wrote and its exit code", async () => {
  const { operations, records, exec } = open();
  await operations.spawn(wish("demo"));
  const input: Message[] = [
    { case: "stdin", value: Buffer.from("more") },
    { case: "stdinEnd", value: true },
  ];
  assert.deepEqual(await exec([start("demo"), ...input]), ["stdout echo hello", "stderr more", 7]);
  assert.deepEqual(
    records.entries.map(({ action, phase, outcome, tenant }) => `${action} ${phase} ${outcome} ${tenant}`),
    ["ExecTenant intent unspecified demo", "ExecTenant outcome success demo"],
  );
});

test("a command on a terminal gets its size, the next one and its type, and no end of input", async () => {
  const { operations, exec } = open();
  await operations.spawn(wish("demo"));
  const terminal = { columns: 80, rows: 24 };
  const value = { name: "demo", command: ["sh"], terminal, terminalType: "xterm-256color" };
  const messages: Message[] = [
    { case: "start", value },
    { case: "stdinEnd", value: true },
    { case: "resize", value: { columns: 100, rows: 30 } },
    { case: "stdin", value: Buffer.from("\x03") },
  ];
  const answers = ["stdout sh on xterm-256color 80x24", "stderr 100x30", "stderr \x03", 7];
  assert.deepEqual(await exec(messages), answers);
});

test("what cannot be run says why", async () => {
  const { operations, tenants, refusal } = open();
  const { vmId } = await operations.spawn(wish("demo"));
  const terminal = { columns: 80, rows: 24 };
  assert.equal(await refusal([start("absent")]), "TENANT_NOT_FOUND");
  assert.equal(await refusal([{ case: "stdinEnd", value: true }]), "EXEC_NOT_STARTED");
  assert.equal(await refusal([]), "EXEC_NOT_STARTED");
  assert.equal(await refusal([start("demo"), { case: "resize", value: terminal }]), "EXEC_NOT_STARTED");
  assert.equal(await refusal([{ case: "start", value: { name: "demo", command: [] } }]), "INVALID_FIELD");
  const odd = { name: "demo", command: ["sh"], terminal, terminalType: "a b" };
  assert.equal(await refusal([{ case: "start", value: odd }]), "INVALID_FIELD");
  const huge = { ...odd, terminalType: "", terminal: { columns: 1001, rows: 24 } };
  assert.equal(await refusal([{ case: "start", value: huge }]), "INVALID_FIELD");
  assert.equal(await refusal([start("demo")], "role:viewer"), "NOT_ALLOWED");
  tenants.markFailed(vmId, "VMM_EXITED");
  assert.equal(await refusal([start("demo")]), "TENANT_NOT_RUNNING");
});
