import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import type { ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { openAgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import {
  CompleteResumeResponseSchema,
  CreateIdentityKeyResponseSchema,
  ExecResponseSchema,
  GetActivityResponseSchema,
  HealthResponseSchema,
  InstallIdentityResponseSchema,
  LogSource,
  PrepareSuspendResponseSchema,
  ScheduleKind,
  SetClockResponseSchema,
  StreamLogsResponseSchema,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail } from "../errors.ts";
import { exampleTenant } from "../store/example-tenant.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { type CommandInput, openGuestAgents } from "./agent.ts";
import { type Answer, answerWith, type HostileAgent, hostileAgent } from "./hostile-agent.ts";

const directory = mkdtempSync(join(tmpdir(), "guest-agents-"));
const platform = testCertificates(join(directory, "platform"));
const guestCa = testCertificates(join(directory, "guests"), "guest-ca");
const vm = platform.issue("vm", ["spiffe://dev.test/svc/vm"]);
const tokens = openAgentTokens(join(directory, "tokens.key"));
const { signal } = new AbortController();
const limitMs = 5_000;

const first: HostileAgent[] = [];
const agents: HostileAgent[] = [];
after(() => {
  for (const agent of agents) agent.close();
  rmSync(directory, { recursive: true });
});

const tenant = (name: string, guestAddress: string, generation = 1): TenantRecord =>
  exampleTenant({ name, vmId: Buffer.from(name).toString("hex").padEnd(32, "0"), generation, guestAddress });

const uriOf = ({ name, vmId, generation }: TenantRecord) => `spiffe://dev.test/guest/${name}/${vmId}/${generation}`;

const encode = <T extends DescMessage>(schema: T, init: MessageInitShape<T>) => toBinary(schema, create(schema, init));
const clockSet = encode(SetClockResponseSchema, { guestTime: timestampFromMs(1) });
const healthOf = ({ vmId, generation }: TenantRecord, change: MessageInitShape<typeof HealthResponseSchema> = {}) =>
  encode(HealthResponseSchema, { vmId, generation, workloadState: WorkloadState.HEALTHY, ...change });

interface AgentOptions {
  readonly days?: number;
  readonly authority?: typeof guestCa;
  /** Calls `taken` when it has taken the clock; at once by default. */
  readonly takeClock?: (taken: () => void) => void;
}

/** Starts a guest's agent that takes the clock and answers everything else as `answer` does. */
async function start(
  guest: TenantRecord,
  answer: Answer,
  { days, authority = guestCa, takeClock = (taken) => taken() }: AgentOptions = {},
): Promise<void> {
  const leaf = authority.issue(`leaf-${guest.name}`, [uriOf(guest)], days === undefined ? {} : { days });
  const agent = await hostileAgent(
    guest.guestAddress,
    first[0]?.port ?? 0,
    { leaf, platformCaPath: platform.caPath },
    (stream, call) =>
      call.method === "SetClock" ? takeClock(() => answerWith(stream, clockSet)) : answer(stream, call),
  );
  first.push(agent);
  agents.push(agent);
}

function opened() {
  const guests = openGuestAgents({
    ...{ trustDomain: "dev.test", ...vm, guestCaPath: guestCa.caPath, tokens, port: first[0]?.port ?? 0 },
  });
  after(() => guests.close());
  return guests;
}

async function reasonFrom(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "OK",
    (error: unknown) => {
      assert.ok(!JSON.stringify([String(error), error]).includes("canary"), "nothing of the answer is in the failure");
      return reasonOf(error) ?? String(error);
    },
  );
}

test("a guest that keeps its contract is told apart by its name and called with its own token", async () => {
  const guest = tenant("good", "127.0.3.1");
  const authorizations = new Set<string>();
  await start(guest, (stream, { authorization }) => {
    authorizations.add(authorization);
    answerWith(stream, healthOf(guest));
  });
  const guests = opened();
  await guests.awaitAgent(guest, limitMs, signal);
  assert.deepEqual(await guests.awaitWorkload(guest, limitMs, signal), []);
  assert.deepEqual([...authorizations], [`Bearer ${tokens.tokenFor(uriOf(guest))}`]);
  const digest = createHash("sha256")
    .update(tokens.tokenFor(uriOf(guest)))
    .digest();
  assert.deepEqual(Buffer.from(guests.tokenDigest(guest)), digest);
  const wrongGeneration = { ...guest, vmId: guest.vmId, generation: 2 };
  assert.equal(await reasonFrom(opened().awaitAgent(wrongGeneration, 300, signal)), "BOOT_FAILED");
});

test("a guest that refuses is given up before one that is silent", async () => {
  const refusing = tenant("refusing", "127.0.3.91");
  const failure = await opened()
    .awaitAgent(refusing, 3_000, signal, 100)
    .catch((error: Error) => error);
  assert.match(String((failure as Error).cause), /refused connections for 100 ms/);
});

const mebibyte = 1024 * 1024;
const hostile: Readonly<Record<string, (stream: ServerHttp2Stream, guest: TenantRecord) => void>> = {
  "another VM's id": (stream, guest) => answerWith(stream, healthOf({ ...guest, vmId: "f".repeat(32) })),
  "another generation": (stream, guest) => answerWith(stream, healthOf({ ...guest, generation: 9 })),
  "an id with control characters": (stream, guest) =>
    answerWith(stream, healthOf(guest, { vmId: "\u001b[2Jcanary\r\n" })),
  "more spans than asked for": (stream, guest) => {
    const at = timestampFromMs(1);
    const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), name: "s", startTime: at, endTime: at };
    answerWith(stream, healthOf(guest, { spans: Array.from({ length: 65 }, () => span) }));
  },
  "a state that does not exist": (stream, guest) =>
    answerWith(stream, healthOf(guest, { workloadState: 99 as WorkloadState })),
};
for (const [index, [what, answer]] of Object.entries(Object.entries(hostile))) {
  test(`${what} is GUEST_MISBEHAVED`, async () => {
    const guest = tenant(`odd${index}`, `127.0.3.${10 + Number(index)}`);
    await start(guest, (stream) => answer(stream, guest));
    assert.equal(await reasonFrom(opened().awaitAgent(guest, limitMs, signal)), "GUEST_MISBEHAVED");
  });
}

const useless: Readonly<Record<string, (stream: ServerHttp2Stream) => void>> = {
  "an answer of 64 MiB": (stream) => {
    const message = Buffer.alloc(64 * mebibyte);
    answerWith(stream, message);
  },
  "an answer without end": (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" });
    const prefix = Buffer.from([0, 0, 15, 255, 255]);
    stream.write(prefix);
    const pour = () => {
      while (!stream.destroyed && stream.write(Buffer.alloc(16_384)));
      if (!stream.destroyed) stream.once("drain", pour);
    };
    pour();
  },
  "no answer": () => undefined,
  "an error that talks": (stream) =>
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-status": "13", "grpc-message": "canary%0A%1b" },
      { endStream: true },
    ),
  "headers of 60 KiB": (stream) =>
    stream.respond({ ":status": 200, "content-type": "application/grpc", "x-canary": "c".repeat(60_000) }),
  "random bytes": (stream) => answerWith(stream, randomBytes(2_000)),
  "no gRPC at all": (stream) => {
    stream.respond({ ":status": 200, "content-type": "text/html" });
    stream.end("<canary>");
  },
};
test("whatever a guest says instead of an answer, its own boot fails and another tenant's guest is as well as before", async () => {
  const good = tenant("good", "127.0.3.1");
  const guests = opened();
  const beforeBytes = process.memoryUsage().rss;
  for (const [index, [what, answer]] of Object.entries(useless).entries()) {
    const guest = tenant(`bad${index}`, `127.0.3.${30 + index}`);
    await start(guest, answer);
    assert.equal(await reasonFrom(guests.awaitAgent(guest, 400, signal)), "BOOT_FAILED", what);
    await guests.awaitAgent(good, limitMs, signal);
  }
  // The agents are in this process too, with what they wanted to send.
  assert.ok(process.memoryUsage().rss - beforeBytes < 256 * mebibyte);
});

test("a guest's spans of another trace are not taken", async () => {
  const guest = tenant("liar", "127.0.3.50");
  const at = timestampFromMs(1);
  const span = { traceId: "c".repeat(32), spanId: "b".repeat(16), name: "s", startTime: at, endTime: at };
  await start(guest, (stream) => answerWith(stream, healthOf(guest, { spans: [span] })));
  assert.deepEqual(await opened().awaitWorkload(guest, limitMs, signal), []);
  assert.deepEqual(await opened().finishedSpans(guest, signal), []);
});

const certified = { certificatePem: "certificate", platformCaPem: "authority", agentTokenDigest: new Uint8Array(32) };
const key = { publicKey: randomBytes(91), proof: randomBytes(64) };
const renewing: Answer = (stream, { method }) =>
  method === "CreateIdentityKey"
    ? answerWith(stream, encode(CreateIdentityKeyResponseSchema, key))
    : answerWith(stream, encode(InstallIdentityResponseSchema, {}));

test("a guest whose certificate has expired is renewed, and called for nothing else", async () => {
  const guest = tenant("expired", "127.0.3.60");
  await start(guest, renewing, { days: -1 });
  const guests = opened();
  assert.equal(await reasonFrom(guests.awaitAgent(guest, 300, signal)), "BOOT_FAILED");
  const seen: Buffer[] = [];
  await guests.renewIdentity(
    guest,
    async ({ publicKey }) => {
      seen.push(Buffer.from(publicKey));
      return certified;
    },
    signal,
  );
  assert.deepEqual(seen, [key.publicKey]);
});

test("a guest that was long in taking the clock is told the time again, at boot and in a wake", async () => {
  for (const { name, address, slow } of [
    { name: "prompt", address: "127.0.3.65", slow: false },
    { name: "late", address: "127.0.3.66", slow: true },
  ]) {
    const guest = tenant(name, address);
    const takesMs = slow ? [600] : []; // once: what is done for the first time takes longer
    let told = 0;
    const takeClock = (taken: () => void) => {
      told += 1;
      setTimeout(taken, takesMs.shift() ?? 0);
    };
    const answer: Answer = (stream, call) => {
      if (call.method === "Health") answerWith(stream, healthOf(guest));
      else setTimeout(() => renewing(stream, call), (call.method === "CreateIdentityKey" && takesMs.shift()) || 0);
    };
    await start(guest, answer, { takeClock });
    const guests = opened();
    await guests.awaitAgent(guest, limitMs, signal);
    assert.equal(told, slow ? 2 : 1, `${name}: at boot`);
    if (slow) takesMs.push(600);
    await guests.renewIdentity(guest, async () => certified, signal);
    assert.equal(told, slow ? 3 : 1, `${name}: in a wake`);
  }
});

test("an expired certificate that the guest authority did not sign, or of another guest, is renewed by nobody", async () => {
  const forged = testCertificates(join(directory, "forged"), "guest-ca");
  const certify = () => assert.fail("it was asked for a key");
  for (const [name, address, options] of [
    ["forged", "127.0.3.61", { days: -1, authority: forged }],
    ["current", "127.0.3.62", { authority: forged }],
  ] as const) {
    const guest = tenant(name, address);
    await start(guest, renewing, options);
    assert.equal(await reasonFrom(opened().renewIdentity(guest, certify, signal)), "GUEST_UNREACHABLE", name);
  }
  const other = { ...tenant("expired", "127.0.3.60"), generation: 2 };
  assert.equal(await reasonFrom(opened().renewIdentity(other, certify, signal)), "GUEST_UNREACHABLE");
});

test("a key of the wrong size is GUEST_MISBEHAVED, and is not certified", async () => {
  const guest = tenant("shortkey", "127.0.3.63");
  await start(guest, (stream) =>
    answerWith(stream, encode(CreateIdentityKeyResponseSchema, { ...key, publicKey: randomBytes(90) })),
  );
  const renewal = opened().renewIdentity(guest, () => assert.fail("it was certified"), signal);
  assert.equal(await reasonFrom(renewal), "GUEST_MISBEHAVED");
});

test("a log line that is longer than the contract allows is GUEST_MISBEHAVED, and what an error says is not passed on", async () => {
  const guest = tenant("logger", "127.0.3.70");
  const line = (text: string) => encode(StreamLogsResponseSchema, { line: text });
  const trailers = { "grpc-status": "8", "grpc-message": "canary" };
  const answers = [
    (stream: ServerHttp2Stream) => answerWith(stream, line("fine")),
    (stream: ServerHttp2Stream) => answerWith(stream, line("x".repeat(8193))),
    (stream: ServerHttp2Stream) => answerWith(stream, line("one"), trailers),
    (stream: ServerHttp2Stream) => answerWith(stream, line("one"), { ...trailers, "grpc-status": "13" }),
  ];
  await start(guest, (stream) => answers.shift()?.(stream));
  const guests = opened();
  const read = () => Array.fromAsync(guests.streamLogs(guest, { source: LogSource.WORKLOAD }, signal));
  assert.deepEqual(
    (await read()).map(({ line }) => line),
    ["fine"],
  );
  for (const reason of ["GUEST_MISBEHAVED", "GUEST_BUSY", "GUEST_UNREACHABLE"]) {
    assert.equal(await reasonFrom(read()), reason);
  }
});

test("a command's answers are passed on as they come, and a mistake in its input stays its caller's", async () => {
  const guest = tenant("runner", "127.0.3.71");
  const exited = encode(ExecResponseSchema, { message: { case: "exitCode", value: 3 } });
  await start(guest, (stream) => answerWith(stream, exited));
  const guests = opened();
  const run = (input: AsyncIterable<CommandInput>) =>
    Array.fromAsync(guests.exec(guest, { command: ["true"] }, input, signal));
  const nothing = (async function* (): AsyncGenerator<CommandInput> {})();
  assert.deepEqual(
    (await run(nothing)).map(({ message }) => message),
    [{ case: "exitCode", value: 3 }],
  );
  // biome-ignore lint/correctness/useYield: it ends the input before its first message
  const mistaken = (async function* (): AsyncGenerator<CommandInput> {
    throw fail("EXEC_NOT_STARTED", "told to fail");
  })();
  assert.equal(await reasonFrom(run(mistaken)), "EXEC_NOT_STARTED");
});

test("a guest is quiesced over a connection that is closed before the call returns to its caller", async () => {
  const guest = tenant("quiet", "127.0.3.80");
  const closed = Promise.withResolvers<void>();
  await start(guest, (stream) => {
    stream.session?.once("close", closed.resolve);
    answerWith(stream, encode(PrepareSuspendResponseSchema, { schedule: {} }));
  });
  assert.deepEqual(await opened().prepareSuspend(guest, signal), []);
  await closed.promise;
});

test("nobody dials a guest that was quiesced, until its wake or its end begins and it is forgotten", async () => {
  const guest = tenant("asleep", "127.0.3.78");
  const calls: string[] = [];
  await start(guest, (stream, { method }) => {
    calls.push(method);
    answerWith(stream, method === "Health" ? healthOf(guest) : encode(PrepareSuspendResponseSchema, { schedule: {} }));
  });
  const guests = opened();
  assert.equal(await guests.workloadState(guest, signal), WorkloadState.HEALTHY);
  await guests.prepareSuspend(guest, signal);
  assert.equal(await guests.workloadState(guest, signal), undefined);
  assert.equal(await reasonFrom(guests.activity(guest, limitMs, signal)), "GUEST_UNREACHABLE");
  assert.deepEqual(calls, ["Health", "PrepareSuspend"]);
  guests.forget(guest.vmId);
  assert.equal(await guests.workloadState(guest, signal), WorkloadState.HEALTHY);
});

test("a guest tells its schedule when its workload has agreed; one of before it was asked so is asked, and has to say", async () => {
  const guest = tenant("scheduled", "127.0.3.79");
  const nextRuns = [{ kind: ScheduleKind.CRON, time: timestampFromMs(7000) }];
  const calls: string[] = [];
  let prepared = encode(PrepareSuspendResponseSchema, { schedule: { nextRuns } });
  let activity: Uint8Array = encode(GetActivityResponseSchema, { nextRuns });
  await start(guest, (stream, { method }) => {
    calls.push(method);
    answerWith(stream, method === "GetActivity" ? activity : prepared);
  });
  const guests = opened();
  const told = [{ kind: "cron", timeMs: 7000 }];
  assert.deepEqual(await guests.prepareSuspend(guest, signal), told);
  prepared = encode(PrepareSuspendResponseSchema, {});
  guests.forget(guest.vmId);
  assert.deepEqual(await guests.prepareSuspend(guest, signal), told);
  assert.deepEqual(calls, ["PrepareSuspend", "PrepareSuspend", "GetActivity"]);
  activity = Buffer.from("no message");
  guests.forget(guest.vmId);
  await assert.rejects(guests.prepareSuspend(guest, signal));
});

test("a workload that refuses is told from a guest that is not there or does not keep its contract", async () => {
  const refusing = tenant("refusing", "127.0.3.81");
  const headers = { ":status": 200, "content-type": "application/grpc", "grpc-status": "9", "grpc-message": "canary" };
  await start(refusing, (stream) => stream.respond(headers, { endStream: true }));
  assert.equal(await reasonFrom(opened().prepareSuspend(refusing, signal)), "SUSPEND_REFUSED");
  const failing = tenant("failing", "127.0.3.82");
  await start(failing, (stream) => stream.respond({ ...headers, "grpc-status": "13" }, { endStream: true }));
  assert.equal(await reasonFrom(opened().prepareSuspend(failing, signal)), "GUEST_UNREACHABLE");
  assert.equal(await reasonFrom(opened().completeResume(failing, signal)), "GUEST_UNREACHABLE");
  const absent = tenant("absent", "127.0.3.83");
  assert.equal(await reasonFrom(opened().prepareSuspend(absent, signal)), "GUEST_UNREACHABLE");
});

test("a guest takes its next generation from whichever it proves, and from none that it does not", async () => {
  const woken = tenant("woken", "127.0.3.84", 3);
  const calls: string[] = [];
  await start(woken, (stream, call) => {
    calls.push(`${call.method} ${call.authorization === `Bearer ${tokens.tokenFor(uriOf(woken))}`}`);
    renewing(stream, call);
  });
  await opened().takeGeneration({ ...woken, generation: 5 }, [1, 4, 3], async () => certified, signal);
  assert.deepEqual(calls, ["CreateIdentityKey true", "InstallIdentity true"]);
  const never = () => assert.fail("it was certified");
  const brief = AbortSignal.timeout(300);
  await assert.rejects(opened().takeGeneration({ ...woken, generation: 5 }, [1, 4], never, brief), {
    name: "TimeoutError",
  });
});

test("a guest goes on under its new generation's name only", async () => {
  const guest = tenant("goes-on", "127.0.3.85", 2);
  await start(guest, (stream) => answerWith(stream, encode(CompleteResumeResponseSchema, {})));
  await opened().completeResume(guest, signal);
  assert.equal(await reasonFrom(opened().completeResume({ ...guest, generation: 1 }, signal)), "GUEST_UNREACHABLE");
});

test("who asks for an earlier generation is in nobody's way, before and after the guest was called by its new name", async () => {
  const guest = tenant("outlived", "127.0.3.86", 2);
  await start(guest, (stream, call) =>
    answerWith(stream, call.method === "Health" ? healthOf(guest) : encode(CompleteResumeResponseSchema, {})),
  );
  const guests = opened();
  const earlier = { ...guest, generation: 1 };
  assert.equal(await guests.workloadState(earlier, signal), undefined);
  await guests.completeResume(guest, signal);
  assert.equal(await guests.workloadState(earlier, signal), undefined);
  assert.equal(await guests.workloadState(guest, signal), WorkloadState.HEALTHY);
});

test("a schedule outside the contract is that guest's fault, and no other guest's", async () => {
  const [hostile, honest] = [tenant("scheduler", "127.0.3.90"), tenant("planner", "127.0.3.91")];
  const time = { seconds: 4_000_000_000n };
  const cron = { kind: ScheduleKind.CRON, time };
  type Runs = NonNullable<MessageInitShape<typeof GetActivityResponseSchema>["nextRuns"]>;
  const encoded = (nextRuns: Runs) => ({
    GetActivity: encode(GetActivityResponseSchema, { nextRuns }),
    PrepareSuspend: encode(PrepareSuspendResponseSchema, { schedule: { nextRuns } }),
  });
  const nothing = Buffer.from("no message");
  const agreed: Readonly<Record<string, Uint8Array>> = encoded([cron]);
  let answers: Readonly<Record<string, Uint8Array>> = encoded([]);
  await start(hostile, (stream, { method }) => answerWith(stream, answers[method] ?? nothing));
  await start(honest, (stream, { method }) => answerWith(stream, agreed[method] ?? nothing));
  const guests = opened();
  /** The reason of both calls that bring a schedule. */
  const ask = async (guest: TenantRecord) => {
    const reasons = [
      await reasonFrom(guests.activity(guest, limitMs, signal)),
      await reasonFrom(guests.prepareSuspend(guest, signal)),
    ];
    guests.forget(guest.vmId);
    return [...new Set(reasons)].join();
  };
  for (const [what, runs] of [
    ["10,000 of them", Array.from({ length: 10_000 }, () => cron)],
    ["101 of them", Array.from({ length: 101 }, () => cron)],
    ["an unknown kind", [{ kind: 9 as ScheduleKind, time }]],
    ["no kind", [{ time }]],
    ["no time", [{ kind: ScheduleKind.AT }]],
  ] as const) {
    answers = encoded([...runs]);
    assert.equal(await ask(hostile), "GUEST_MISBEHAVED", what);
    assert.equal(await ask(honest), "OK", what);
  }
  answers = { GetActivity: nothing, PrepareSuspend: nothing };
  assert.doesNotMatch(await ask(hostile), /OK/);
  answers = encoded(Array.from({ length: 100 }, () => ({ ...cron, time: { seconds: 2n ** 62n } })));
  assert.equal(await ask(hostile), "OK", "a time may be anything: it is clamped");
});
