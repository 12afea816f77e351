import assert from "node:assert/strict";
import { spawn as startProcess } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { env, eventually, evict } from "./subject.ts";
import { cliMain, execInTerminal, inTerminal } from "./terminal.ts";

const tenant = "cli";
const limitMs = 240_000;

after(() => evict(tenant));

/** Runs `lobster` as a person does who sourced `.run/env`. */
async function lobster(parameters: readonly string[], input = ""): Promise<{ status: number | null; out: string }> {
  const child = startProcess(process.execPath, [cliMain, ...parameters], {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
    timeout: limitMs,
  });
  child.stdin.end(input);
  const [out] = await Promise.all([text(child.stdout), once(child, "close")]);
  return { status: child.exitCode, out };
}

async function lobsterJson(...parameters: string[]) {
  const { status, out } = await lobster([...parameters, "--json"]);
  assert.equal(status, 0, parameters.join(" "));
  return JSON.parse(out);
}

test("a tenant is given a secret, spawned and seen by the command", async () => {
  const put = await lobster(["secret", "put", tenant, "api-key"], "lobsterd-test-value\n");
  assert.equal(put.status, 0);
  assert.equal((await lobster(["secret", "bind", tenant, "api-key"])).status, 0);
  const { tenant: spawned } = await lobsterJson("spawn", tenant, "--label", "purpose=story");
  assert.partialDeepStrictEqual(spawned, { name: tenant, state: "TENANT_STATE_RUNNING", labels: { purpose: "story" } });
  assert.equal((await lobster(["ls", "--quiet"])).out, `${tenant}\n`);
  const { health } = await lobsterJson("get", tenant);
  assert.deepEqual(health, { agentAnswers: true, workload: "WORKLOAD_HEALTH_HEALTHY" });
  const { secrets } = await lobsterJson("secret", "ls", tenant);
  assert.equal(secrets[0].deliveries[0].version, 1);
  const { host } = await lobsterJson("host", "get");
  assert.equal(host.tenantCount, 1);
  const { tenants } = await lobsterJson("top");
  assert.equal(typeof tenants[0].usage.receivedBytes, "string");
});

test("top in a terminal redraws in place, and ends with Ctrl-C", async (t) => {
  // Ctrl-C reaches the shell as well, which is to show the status.
  const terminal = await inTerminal(t, `trap : INT; '${process.execPath}' '${cliMain}' top; echo "status=$?"`);
  if (terminal === undefined) return;
  const { tmux, screen, shown } = terminal;
  await shown(/^NAME .*\ncli {3}running /m);
  const time = await shown(/^\S+Z(?= {2}1 tenants)/m);
  await eventually("another table", 20_000, async () => {
    const text = await screen();
    assert.equal(text.match(/tenants/g)?.length, 1, "one table at a time");
    return /^\S+Z(?= {2}1 tenants)/m.exec(text)?.[0] !== time || undefined;
  });
  await tmux("send-keys", "C-c");
  await shown(/status=0\b/);
});

test("exec in a terminal is a shell: its size follows, Ctrl-C is the command's, and its status comes back", async (t) => {
  const terminal = await inTerminal(t, execInTerminal(tenant, ""));
  if (terminal === undefined) return;
  const { tmux, shown } = terminal;
  const type = (text: string) => tmux("send-keys", text, "Enter");
  await shown(/^\$ ?$/m);
  await tmux("resize-window", "-x", "70", "-y", "20");
  await type("test -t 0 && echo $TERM; stty size");
  await shown(/^(screen|tmux)\S*\n20 70$/m);
  // Said by the command itself: until it has the terminal, Ctrl-C is still the shell's.
  await type("sh -c 'echo ready; exec sleep 1000'");
  await shown(/^ready$/m);
  await tmux("send-keys", "C-c");
  // What is typed before the prompt is shown twice, once on the prompt's line.
  await shown(/^\$ ?$/m);
  await type("echo code=$?; exit 3");
  await shown(/^code=130$/m);
  await shown(/^status=3\nrestored$/m);
});

test("a terminal is as it was when exec is killed", async (t) => {
  const terminal = await inTerminal(
    t,
    execInTerminal(tenant, "-- sh -c 'echo ready; sleep 1000'", "sh -c 'echo pid=$$; exec \"$@\"' sh "),
  );
  if (terminal === undefined) return;
  const pid = Number((await terminal.shown(/pid=\d+/)).slice(4));
  await terminal.shown(/^ready$/m);
  process.kill(pid, "SIGTERM");
  await terminal.shown(/^restored$/m);
  assert.match(await terminal.screen(), /^status=143$/m);
});

test("-t without a terminal says so", async () => {
  assert.equal((await lobster(["exec", "-it", tenant])).status, 125);
});

test("its egress is changed, and the audit log has it", async () => {
  assert.equal((await lobster(["egress", tenant, "--egress", "none"])).out, "none\n");
  const { records } = await lobsterJson("audit", "query", "--tenant", tenant, "--action", "UpdateTenantEgress");
  assert.equal(records.at(-1).draft.outcome, "RECORD_OUTCOME_SUCCESS");
});

test("a spawn of the same name again is a conflict", async () => {
  assert.equal((await lobster(["spawn", tenant])).status, 6);
});

test("after evict it is not found, and a terminal in it is cut and as it was", async (t) => {
  const terminal = await inTerminal(t, execInTerminal(tenant, ""));
  await terminal?.shown(/^\$ ?$/m);
  assert.equal((await lobster(["evict", tenant])).status, 0);
  await terminal?.shown(/^status=125\nrestored$/m);
  assert.equal((await lobster(["get", tenant])).status, 3);
  assert.equal((await lobster(["ls", "--quiet"])).out, "");
});
