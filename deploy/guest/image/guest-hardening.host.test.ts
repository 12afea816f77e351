import assert from "node:assert/strict";
import { randomBytes, webcrypto } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import type { Run, RunResult } from "../probe/run.ts";
import { type BareGuest, bootTrustDomain, firstHttpAnswerMs, startBareGuest } from "./bare-boot.ts";
import type { Leaf } from "./boot-authority.ts";
import { agentClient, agentPort, callFront, connectGuest } from "./boot-client.ts";
import { buildImage } from "./image.ts";
import { workloadAttacks } from "./workload-attacks.ts";

const repository = new URL("../../..", import.meta.url).pathname;
const out = `${repository}.cache/images`;
/** Boots share two cores with whatever else runs: this bounds a hang, it measures nothing. */
const bootLimitMs = 180_000;
const dayMs = 86_400_000;

let guest: BareGuest;
let caddy: Leaf;
let vm: Leaf;

before(
  async () => {
    await buildImage("probe", { out, repository, force: false, progress: () => undefined });
    guest = await startBareGuest({ image: `${out}/probe` });
    caddy = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/caddy` });
    vm = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/vm` });
    await firstHttpAnswerMs(guest, bootLimitMs);
  },
  { timeout: bootLimitMs + 120_000 },
);
after(() => guest?.stop());

async function run(user: NonNullable<Run["user"]>, ...command: string[]): Promise<RunResult> {
  const body = JSON.stringify({ command, timeoutMs: 60_000, user } satisfies Run);
  const headers = { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) };
  const answer = await callFront(guest, { path: "/run", method: "POST", headers, body, leaf: caddy });
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body) as RunResult;
}

/** The agent's process id, which only root can find out. */
async function agentPid(): Promise<string> {
  const search =
    'for p in /proc/[0-9]*; do case "$(readlink $p/exe) $(tr "\\0" " " <$p/cmdline)" in /usr/bin/node*/opt/agent*) busybox basename $p;; esac; done';
  const { stdout } = await run("root", "sh", "-c", search);
  assert.match(stdout, /^\d+\n$/, "one process is the agent");
  return stdout.trim();
}

test("the workload's user gets through with none of the attacks from inside", { timeout: 300_000 }, async (t) => {
  const agent = await agentPid();
  for (const { name, script, worksForRoot } of workloadAttacks) {
    await t.test(name, async () => {
      const attack = ["sh", "-c", `export AGENT=${agent}; ${script}`];
      const { exitCode, stderr } = await run("workload", ...attack);
      // 126 and 127: the program is not there, which proves nothing.
      assert.ok(exitCode > 0 && exitCode < 126, `exit status ${exitCode}: ${stderr}`);
      if (!worksForRoot) return;
      const asRoot = await run("root", ...attack);
      assert.equal(asRoot.exitCode, 0, `it does not work for root either: ${asRoot.stderr}`);
    });
  }
});

test("there is no console, and no serial port to read it at", async () => {
  const { stdout } = await run("root", "sh", "-c", "cat /proc/cmdline /proc/consoles; ls /dev");
  assert.doesNotMatch(stdout, /console=|ttyS\d/);
});

async function withAgent<T>(use: (client: ReturnType<typeof agentClient>["client"]) => Promise<T>): Promise<T> {
  const { client, close } = agentClient(guest, vm, guest.tokens.vm);
  try {
    return await use(client);
  } finally {
    close();
  }
}

async function reasonFrom(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "OK",
    (error: unknown) => ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? String(error),
  );
}

const clockRequest = (ms: number) => ({ hostTime: timestampFromMs(ms), entropy: { value: randomBytes(64) } });

test("a guest whose clock is 30 days behind takes the host's time, and then everything else", async () => {
  const { exitCode } = await run("root", "date", "--utc", `--set=@${Math.floor((Date.now() - 30 * dayMs) / 1000)}`);
  assert.equal(exitCode, 0);
  await withAgent(async (client) => {
    assert.equal(await reasonFrom(client.health({})), "CLOCK_BEHIND");
    const startMs = Date.now();
    const { guestTime } = await client.setClock(clockRequest(startMs));
    assert.ok(guestTime !== undefined);
    const guestMs = timestampMs(guestTime);
    // It was told the time of the start and answered before the end.
    assert.ok(guestMs > startMs - 1_000 && guestMs < Date.now() + 1_000, `${guestMs - startMs} ms`);
    assert.equal(await reasonFrom(client.health({})), "OK");
  });
});

test("a time before the last one is refused, and randomness of another size too", async () => {
  await withAgent(async (client) => {
    assert.equal(await reasonFrom(client.setClock(clockRequest(Date.now() - dayMs))), "CLOCK_BACKWARDS");
    const short = { ...clockRequest(Date.now()), entropy: { value: randomBytes(63) } };
    assert.equal(await reasonFrom(client.setClock(short)), "INVALID_FIELD");
  });
});

/** The serial number of the certificate that the agent shows. */
async function shownSerial(): Promise<string | undefined> {
  const socket = connectGuest(guest, agentPort, { leaf: vm });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  const serial = socket.getPeerX509Certificate()?.serialNumber;
  socket.destroy();
  return serial;
}

test("a renewed certificate is used at once, and the connection before it ends within 5 s", {
  timeout: 60_000,
}, async () => {
  const before = await shownSerial();
  const old = connectGuest(guest, agentPort, { leaf: vm });
  await once(old, "secureConnect");
  old.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
  old.resume();
  const ended = once(old, "close");
  await withAgent(async (client) => {
    const { publicKey } = await client.createIdentityKey({ generation: 1, clock: clockRequest(Date.now()) });
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const key = await webcrypto.subtle.importKey("spki", Uint8Array.from(publicKey), algorithm, true, ["verify"]);
    const { tenant, vmId } = guest.identity;
    const uri = `spiffe://${bootTrustDomain}/guest/${tenant}/${vmId}/1`;
    const { certificatePem } = await guest.guests.issue({ uri, publicKey: key });
    const { platform } = guest;
    const tokenDigests = { vm: randomBytes(32), secrets: randomBytes(32) };
    await client.installIdentity({
      generation: 1,
      certificatePem,
      platformCaPem: platform.certificatePem,
      tokenDigests,
    });
  });
  assert.notEqual(await shownSerial(), before);
  assert.equal(await Promise.race([ended.then(() => "ended"), delay(5_000, "open")]), "ended");
  await withAgent(async (client) => assert.equal(await reasonFrom(client.health({})), "TOKEN_REFUSED"));
});
