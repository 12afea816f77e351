import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { openAgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { guestUri } from "./identity/guest-name.ts";
import { findCanaries, newCanary } from "./testing/canary.ts";
import { type GuestFiles, guestAgent } from "./testing/guest-agent.ts";
import { inject, issuedLeaf, newGuest, putBound, reasonFrom } from "./testing/guests.ts";
import { type RunningService, runningService } from "./testing/running-service.ts";
import { recordSpans } from "./testing/span-recorder.ts";

// Before the service makes its tracer.
const spans = recordSpans();

/** Body of the key in a PEM text: 60 of its characters are as good as a canary. */
function keyCanary(pem: string): string {
  return pem.split("\n").slice(1, -2).join("\n").slice(65, 125);
}

async function failuresWith(service: RunningService, value: string): Promise<void> {
  const operator = service.as("operator");
  const put = (change: object) =>
    reasonFrom(
      operator.putSecret({
        ...{ requestId: randomUUID(), tenant: "demo", name: "k", value: { value: Buffer.from(value) } },
        ...change,
      }),
    );
  assert.equal(await put({ name: "gateway-token" }), "RESERVED_NAME");
  assert.equal(await put({ name: "Not A Name" }), "INVALID_FIELD");
  assert.equal(await put({ value: { value: Buffer.from(value.repeat(2000)) } }), "INVALID_FIELD");
  const requestId = randomUUID();
  assert.equal(await put({ requestId }), "OK");
  assert.equal(await put({ requestId, value: { value: Buffer.from(`${value}x`) } }), "REQUEST_ID_REUSED");
  service.audit.mode = "fail";
  assert.equal(await put({}), "AUDIT_UNAVAILABLE");
  service.audit.mode = "accept";
  const { rootKeyPath } = service;
  renameSync(rootKeyPath, `${rootKeyPath}.away`);
  assert.equal(await put({}), "ROOT_KEY_UNAVAILABLE");
  renameSync(`${rootKeyPath}.away`, rootKeyPath);
  const stranger = service.as("stranger").putSecret({
    ...{ requestId: randomUUID(), tenant: "demo", name: "k", value: { value: Buffer.from(value) } },
  });
  assert.notEqual(await reasonFrom(stranger), "OK");
}

/** A hostile agent that hands back what it was given: in message, header and details of its error, and as its reason if none is given. */
function echoingAgent(service: RunningService, address: string, leaf: GuestFiles, reason?: string) {
  return guestAgent(service, address, leaf, async ({ secrets }) => {
    const words = secrets.map(({ value }) => Buffer.from(value?.value ?? []).toString());
    const [first = "", second = "", third = ""] = words;
    const info = { reason: reason ?? first, domain: second, metadata: { k: third } };
    throw new ConnectError(words.slice(0, 20).join(" "), Code.Internal, { "x-said": first }, [
      { desc: ErrorInfoSchema, value: info },
    ]);
  });
}

test("64 canaries through every call and failure stand in no log, event, audit record, span or file", async () => {
  const service = await runningService();
  try {
    const canaries = Array.from({ length: 64 }, newCanary);
    for (const [index, canary] of canaries.entries()) {
      if (index < 60) await putBound(service, "demo", `s${index}`, canary);
      else await failuresWith(service, canary);
    }
    const guest = newGuest("demo");
    const leaf = await issuedLeaf(service, guest);
    const key = readFileSync(leaf.keyPath, "utf8");
    const echo = await echoingAgent(service, "127.0.2.1", leaf, "ECHO");
    assert.equal(await reasonFrom(inject(service, guest, "127.0.2.1")), "GUEST_REFUSED");
    await echo.close();
    const agent = await guestAgent(service, "127.0.2.1", leaf);
    assert.equal((await inject(service, guest, "127.0.2.1")).injected.length, 60);
    assert.equal(await reasonFrom(inject(service, guest, "127.0.2.1")), "LEASE_USED");
    const rotated = Array.from({ length: 4 }, newCanary);
    for (const [index, canary] of rotated.entries()) await putBound(service, "demo", `s${index}`, canary);
    const values = () => new Set(agent.received.at(-1)?.map(({ value }) => value));
    await waitFor(
      "the new versions to reach the guest",
      async () => (rotated.every((canary) => values().has(canary)) ? true : undefined),
      { timeoutMs: 20_000, intervalMs: 20 },
    );
    const requestId = randomUUID();
    await service.as("operator").deleteSecret({ requestId, tenant: "demo", name: "s59" });
    await service.as("operator").rotateRootKey({ requestId: randomUUID() });
    await agent.close();
    assert.deepEqual(
      agent.received[0]
        ?.slice(0, -1)
        .map(({ value }) => value)
        .sort(),
      canaries.slice(0, 60).sort(),
    );
    const issued = await service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant: "demo" });
    const token = Buffer.from(issued.token?.value ?? []).toString();
    await service.as("viewer").listSecrets({ tenant: "demo" });
    const agentTokens = openAgentTokens(join(service.config.stateDir, "agent-token.key"));
    const agentToken = agentTokens.tokenFor(guestUri(service.config.trustDomain, guest));
    const sought = [...canaries, ...rotated, token, agentToken, keyCanary(key)];
    assert.ok(sought.every((value) => value.length >= 35));

    const report = (): Record<string, number[]> => {
      const state = service.config.stateDir;
      const places: Record<string, Buffer> = {
        log: Buffer.from(service.logLines.join("")),
        events: Buffer.from(JSON.stringify(service.events)),
        audit: Buffer.from(JSON.stringify(service.audit.entries)),
        spans: Buffer.from(spans.join("\n")),
        ...Object.fromEntries(readdirSync(state).map((name) => [name, readFileSync(join(state, name))])),
      };
      for (const [place, bytes] of Object.entries(places)) {
        if (place.endsWith(".key")) assert.equal(bytes.length, 32, place);
        else if (!place.endsWith("-wal") && !place.endsWith("-shm"))
          assert.ok(bytes.length > 500, `${place} was captured`);
      }
      return Object.fromEntries(Object.entries(places).map(([place, bytes]) => [place, findCanaries(bytes, sought)]));
    };
    const clean = (found: Record<string, number[]>) => Object.entries(found).filter(([, hits]) => hits.length > 0);
    assert.deepEqual(clean(report()), []);
    await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "demo" });
    await service.restart();
    assert.deepEqual(clean(report()), []);
  } finally {
    await service.close();
  }
});

test("a value that a guest hands back as the reason of its error stands in no span or log", async () => {
  const service = await runningService();
  try {
    const canary = newCanary();
    await putBound(service, "demo", "k", canary);
    const guest = newGuest("demo");
    const agent = await echoingAgent(service, "127.0.2.2", await issuedLeaf(service, guest));
    assert.equal(await reasonFrom(inject(service, guest, "127.0.2.2")), "GUEST_REFUSED");
    await agent.close();
    assert.deepEqual(findCanaries(Buffer.from(service.logLines.join("")), [canary]), []);
    assert.deepEqual(findCanaries(Buffer.from(spans.join("\n")), [canary]), []);
  } finally {
    await service.close();
  }
});

test("the search finds a canary in every encoding", () => {
  const canary = newCanary();
  const bytes = Buffer.from(canary);
  for (const prefix of ["", "a", "ab"]) {
    const inside = Buffer.concat([Buffer.from(prefix), bytes, Buffer.from("tail")]);
    for (const form of ["utf8", "hex", "base64", "base64url"] as const) {
      assert.deepEqual(
        findCanaries(Buffer.from(inside.toString(form)), [newCanary(), canary]),
        [1],
        `${form} ${prefix}`,
      );
    }
  }
});
