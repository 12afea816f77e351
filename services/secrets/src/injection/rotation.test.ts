import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { InjectSecretsResponseSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type AgentAnswer, guestAgent, type TestAgent } from "../testing/guest-agent.ts";
import { acquireLease, injectLeased, issuedLeaf, newGuest, putBound, reasonFrom } from "../testing/guests.ts";
import { type RunningService, runningService } from "../testing/running-service.ts";

let service: RunningService;
before(async () => {
  service = await runningService();
});
after(async () => await service.close());

const limits = { timeoutMs: 20_000, intervalMs: 20 };
const put = (tenant: string, name: string, value: string) =>
  service.as("operator").putSecret({ requestId: randomUUID(), tenant, name, value: { value: Buffer.from(value) } });

/** A guest that has had its injection. */
async function runningGuest(
  tenant: string,
  address: string,
  options: { labels?: Record<string, string>; answer?: AgentAnswer } = {},
) {
  const guest = newGuest(tenant);
  const agent = await guestAgent(service, address, await issuedLeaf(service, guest), options.answer);
  await acquireLease(service, guest);
  await injectLeased(service, guest, address, randomUUID(), options.labels);
  return { guest, agent: Object.assign(agent, { [Symbol.asyncDispose]: () => agent.close() }) };
}

/** What the agent was sent last, as `name@version=value target`, without the token. */
function lastSet({ received }: TestAgent): string[] {
  const set = received.at(-1) ?? [];
  return set
    .filter(({ name }) => name !== "gateway-token")
    .map(({ name, version, value, target }) => `${name}@${version}=${value} ${target}`);
}

async function untilSet(agent: TestAgent, wanted: readonly string[]): Promise<void> {
  await waitFor(
    `the guest to have ${wanted.join(", ")}`,
    async () => (JSON.stringify(lastSet(agent)) === JSON.stringify(wanted) ? true : undefined),
    limits,
  ).catch((error: unknown) => assert.deepEqual(lastSet(agent), wanted, String(error)));
}

async function deliveredVersions(tenant: string): Promise<string[]> {
  const { secrets } = await service.as("viewer").listSecrets({ tenant });
  return secrets.map(({ name, version, deliveries }) =>
    [`${name}@${version}:`, ...deliveries.map((delivery) => `${delivery.version}`)].join(" "),
  );
}

test("a new version, a new place, a new secret and a deletion each reach the running guest", async () => {
  await putBound(service, "rotates", "k", "one");
  const { guest, agent } = await runningGuest("rotates", "127.0.3.1");
  await using _agent = agent;
  assert.deepEqual(lastSet(agent), ["k@1=one file"]);
  await put("rotates", "k", "two");
  await untilSet(agent, ["k@2=two file"]);
  await waitFor(
    "the version to be listed",
    async () => ((await deliveredVersions("rotates")).includes("k@2: 2") ? true : undefined),
    limits,
  );
  const operator = service.as("operator");
  const bind = (target: Parameters<typeof operator.bindSecret>[0]["target"]) =>
    operator.bindSecret({ requestId: randomUUID(), tenant: "rotates", name: "k", ...(target && { target }) });
  await bind({ target: { case: "environment", value: { variable: "KEY" } } });
  await untilSet(agent, ["k@2=two environment KEY"]);
  await bind({ target: { case: "configuration", value: { pointer: "/a/b" } } });
  await untilSet(agent, ["k@2=two configuration /a/b"]);
  await putBound(service, "rotates", "l", "other");
  await untilSet(agent, ["k@2=two configuration /a/b", "l@1=other file"]);
  await operator.deleteSecret({ requestId: randomUUID(), tenant: "rotates", name: "k" });
  await untilSet(agent, ["l@1=other file"]);
  const outcome = await waitFor(
    "the runs to be recorded",
    async () => {
      const own = service.audit.entries.filter((entry) => entry.resource === guest.vmId);
      const count = (phase: string) =>
        own.filter((entry) => entry.action === "RotateIntoGuest" && entry.phase === phase).length;
      return count("intent") > 0 && count("intent") === count("outcome") ? own.at(-1) : undefined;
    },
    limits,
  );
  assert.equal(outcome.outcome, "success");
});

test("an unbound secret and another tenant's reach nobody, and nothing is sent twice", async () => {
  await putBound(service, "quiet", "k", "one");
  const { agent } = await runningGuest("quiet", "127.0.3.2");
  await using _agent = agent;
  await put("quiet", "unbound", "x");
  await putBound(service, "quiet-other", "k", "x");
  await put("quiet", "k", "two");
  await untilSet(agent, ["k@2=two file"]);
  assert.equal(agent.received.length, 2);
});

test("a guest that refuses at first, or is away, is tried again until it has the version", async () => {
  await putBound(service, "stubborn", "k", "one");
  let refusals = 0;
  const { agent } = await runningGuest("stubborn", "127.0.3.3", {
    answer: async ({ secrets }) => {
      const isFirstOfTwo = secrets.some(({ name, version }) => name === "k" && version === 2) && refusals < 2;
      if (isFirstOfTwo) {
        refusals += 1;
        throw new ConnectError("not now", Code.Internal);
      }
      return create(InjectSecretsResponseSchema);
    },
  });
  await using _agent = agent;
  await put("stubborn", "k", "two");
  await waitFor(
    "the version to be listed",
    async () => ((await deliveredVersions("stubborn")).includes("k@2: 2") ? true : undefined),
    limits,
  );
  assert.equal(refusals, 2);
});

test("what was put while the service could not deliver is delivered at its next start", async () => {
  await putBound(service, "restarts", "k", "one");
  const { agent } = await runningGuest("restarts", "127.0.3.4");
  await using _agent = agent;
  await put("restarts", "k", "two");
  await untilSet(agent, ["k@2=two file"]);
  service.audit.mode = "fail";
  assert.equal(
    await reasonFrom(service.as("operator").deleteSecret({ requestId: randomUUID(), tenant: "restarts", name: "k" })),
    "OK",
  );
  await waitFor(
    "a try without audit",
    async () => (service.logLines.join("").includes("trying again") ? true : undefined),
    limits,
  );
  assert.deepEqual(lastSet(agent), ["k@2=two file"], "no audit, no delivery");
  await service.restart();
  service.audit.mode = "accept";
  await untilSet(agent, []);
});

test("a revoked guest and an older generation are sent nothing more", async () => {
  await putBound(service, "ends", "k", "one");
  const one = await runningGuest("ends", "127.0.3.5");
  const other = await runningGuest("ends", "127.0.3.6");
  await using _one = one.agent;
  await using _other = other.agent;
  await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "ends", vmId: one.guest.vmId });
  await put("ends", "k", "two");
  await untilSet(other.agent, ["k@2=two file"]);
  assert.deepEqual(lastSet(one.agent), ["k@1=one file"]);
  await issuedLeaf(service, { ...other.guest, generation: 2 });
  await put("ends", "k", "three");
  assert.deepEqual(await deliveredVersions("ends"), ["k@3:"]);
  assert.deepEqual(lastSet(other.agent), ["k@2=two file"]);
});

test("a shared secret reaches the tenants with its label, and leaves them with it", async () => {
  const operator = service.as("operator");
  const red = await runningGuest("red-team", "127.0.3.7", { labels: { team: "red" } });
  const blue = await runningGuest("blue-team", "127.0.3.8", { labels: { team: "blue" } });
  await using _red = red.agent;
  await using _blue = blue.agent;
  await put("", "api", "for all");
  const bind = (value: string) =>
    operator.bindSecret({
      ...{ requestId: randomUUID(), tenant: "", name: "api", label: { key: "team", value } },
      target: { target: { case: "environment", value: { variable: "API" } } },
    });
  await bind("red");
  await untilSet(red.agent, ["api@1=for all environment API"]);
  assert.deepEqual(lastSet(blue.agent), []);
  await bind("blue");
  await untilSet(red.agent, []);
  await untilSet(blue.agent, ["api@1=for all environment API"]);
  await put("", "api", "newer");
  await untilSet(blue.agent, ["api@2=newer environment API"]);
  await waitFor(
    "the one holder to be listed",
    async () => ((await deliveredVersions("")).includes("api@2: 2") ? true : undefined),
    limits,
  );
  await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "blue-team" });
  assert.equal(
    (await service.as("viewer").listSecrets({ tenant: "" })).secrets[0]?.version,
    2,
    "not the tenant's to destroy",
  );
});
