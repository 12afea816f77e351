/** A terminal in a real guest goes on when the guest's certificate is renewed: it is the same guest (ADR 0022, ADR 0030). */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { RecordOutcome } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { describeInstance } from "../dev/instance.ts";
import { configPath } from "../dev/processes.ts";
import { openStack } from "../dev/stack.ts";
import { clients, eventually, evict, instance, spawn } from "./subject.ts";
import { execInTerminal, inTerminal } from "./terminal.ts";

const tenant = "renewed";
const stack = openStack(describeInstance(instance));
const path = configPath(stack.instance, "secrets");
const configured = readFileSync(path, "utf8");
/** The shortest there can be: it ends five minutes after it was issued, and is renewed at half of that. */
const shortest = { guestCertificateMinutes: 20, guestCertificateBackdateSeconds: 900 };
const renewalLimitMs = 240_000;

async function configure(text: string): Promise<void> {
  writeFileSync(path, text);
  await stack.restart("secrets");
}

before(() => configure(JSON.stringify({ ...JSON.parse(configured), ...shortest })));
after(async () => {
  await evict(tenant);
  await configure(configured);
});

/** How often secrets has certified a later key of the guest. */
async function renewals(): Promise<number> {
  const { records } = await clients.audit.queryRecords({ tenant, action: "RenewGuestIdentity" });
  return records.filter(({ draft }) => draft?.outcome === RecordOutcome.SUCCESS).length;
}

test("exec in a terminal goes on through a renewal of its guest's identity", async (t) => {
  await spawn(tenant);
  const terminal = await inTerminal(t, execInTerminal(tenant, ""));
  if (terminal === undefined) return;
  const { tmux, screen, shown } = terminal;
  const type = (text: string) => tmux("send-keys", text, "Enter");
  const ticks = async () => Number((await screen()).match(/(?<=^tick=)\d+$/gm)?.at(-1));
  await shown(/^\$ ?$/m);
  await type("n=0; while sleep 1; do n=$((n+1)); echo tick=$n; done");
  await shown(/^tick=1$/m);
  assert.equal(await renewals(), 0);
  await eventually("a renewal", renewalLimitMs, async () => (await renewals()) > 0 || undefined);
  // Longer than a connection of another generation would be left.
  const before = await ticks();
  await eventually("a command that goes on", 60_000, async () => (await ticks()) >= before + 10 || undefined);
  await tmux("send-keys", "C-c");
  await type("echo code=$?; exit 3");
  await shown(/^code=130$/m);
  await shown(/^status=3\nrestored$/m);
  const { health } = await clients.tenants.getTenant({ name: tenant });
  assert.equal(health?.agentAnswers, true, "under its new identity");
});
