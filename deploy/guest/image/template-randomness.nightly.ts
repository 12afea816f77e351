/**
 * Guests of one template share no random byte (controls GST-05 and GST-06): what 20 of them draw in new programs and what their agents send in
 * handshakes is compared, all with all. Without the reseeding in init the same comparison finds equal bytes.
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { type BareGuest, bootTrustDomain } from "./bare-boot.ts";
import { copyImageWithInit, saveBareTemplate, startFromBareTemplate } from "./bare-template.ts";
import { agentClient, agentPort } from "./boot-client.ts";
import { buildImage } from "./image.ts";

const repository = new URL("../../..", import.meta.url).pathname;
const out = `${repository}.cache/images`;
const image = `${out}/base`;
const guests = 20;
const drawn = 1_000;
const handshakes = 50;
const answersWithinMs = 240_000;

/** In the guest: UUIDs, nonces, and the randoms of TLS clients, in a program that starts after the template. */
const program = `
  const { randomBytes, randomUUID } = require("node:crypto");
  const { Duplex } = require("node:stream");
  const { connect } = require("node:tls");
  const context = require("node:tls").createSecureContext();
  const clientRandom = () => new Promise((resolve) => {
    const socket = new Duplex({ read() {}, write(chunk, encoding, done) { resolve(chunk.subarray(11, 43).toString("hex")); done(); } });
    connect({ socket, secureContext: context, servername: "a.test" }).on("error", () => {});
  });
  (async () => {
    const draw = (make) => Array.from({ length: ${drawn} }, make);
    const randoms = [];
    for (let index = 0; index < ${drawn}; index += 1) randoms.push(await clientRandom());
    process.stdout.write(JSON.stringify({
      uuids: draw(() => randomUUID()),
      nonces: draw(() => randomBytes(12).toString("hex")),
      maths: draw(() => Math.random()),
      randoms,
      bootId: require("node:fs").readFileSync("/proc/sys/kernel/random/boot_id", "utf8"),
    }), () => process.exit());
  })();`;

interface Drawn {
  readonly uuids: readonly string[];
  readonly nonces: readonly string[];
  readonly maths: readonly number[];
  readonly randoms: readonly string[];
  readonly bootId: string;
}

let work: string;
before(async () => {
  work = await mkdtemp(join(tmpdir(), "lobsterd-templates-"));
  await buildImage("base", { out, repository, force: false, progress: () => undefined });
});
after(() => rm(work, { recursive: true, force: true }));

test("20 guests of one template draw and send nothing twice", { timeout: 3_600_000 }, async (context) => {
  const state = join(work, "state");
  await saveBareTemplate({ image }, state);
  const seen = new Map<string, number>();
  const equal: string[] = [];
  let values = 0;
  const note = (guest: number, kind: string, drawnValues: readonly (string | number)[]) => {
    for (const value of drawnValues) {
      values += 1;
      const key = `${kind} ${value}`;
      if (seen.has(key)) equal.push(`${key} of ${guest} and ${seen.get(key)}`);
      seen.set(key, guest);
    }
  };
  for (let index = 0; index < guests; index += 1) {
    const guest = await startFromBareTemplate({ image }, state);
    try {
      note(index, "server random", await serverRandoms(guest));
      const { uuids, nonces, maths, randoms, bootId } = await draw(guest);
      assert.deepEqual([uuids.length, nonces.length, randoms.length], [drawn, drawn, drawn]);
      assert.ok(randoms.every((random) => /^[0-9a-f]{64}$/.test(random)));
      note(index, "uuid", uuids);
      note(index, "nonce", nonces);
      note(index, "Math.random", maths);
      note(index, "client random", randoms);
      note(index, "boot id", [bootId]);
    } finally {
      await guest.stop();
    }
  }
  context.diagnostic(`${values} values of ${guests} guests, ${equal.length} equal`);
  assert.equal(values, guests * (handshakes + 4 * drawn + 1));
  assert.deepEqual(equal, []);
});

const reseeding = `$bb cat /dev/vdc >/dev/urandom
/bin/reseed-kernel </dev/urandom
`;
const wake = `  exec 3>&-
`;
/** What the next programs would get, 16 bytes at a time, drawn by the shell itself, and the end. */
const show = `drawn=
for index in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do read -r uuid </proc/sys/kernel/random/uuid; drawn="$drawn $uuid"; done
echo "drawn$drawn." >/dev/ttyS0
while :; do read -r -t 1 -u 3 never || :; done
`;

/** What two guests of one template, whose init does `step` when it goes on, draw first. */
async function firstDraws(name: string, step: string): Promise<readonly (readonly string[])[]> {
  const init = await readFile(new URL("./init.sh", import.meta.url), "utf8");
  for (const text of [reseeding, wake, "  $bb dd if=/dev/null of=/dev/vdb"]) assert.ok(init.includes(text), text);
  const edited = init
    // Its timers draw when they like, and after that two guests draw the same one after the other and not at the same time.
    .replaceAll(/^\$bb (ifconfig|route) .*\n/gm, "")
    // The kernel's own reseeding, each time half of its uptime has gone by, is not what is looked for: it has just been, and comes late.
    .replace("  $bb dd if", "  $bb sleep 20\n  /bin/reseed-kernel </dev/urandom\n  $bb dd if")
    .replace(wake, step + show);
  const variant = join(work, name);
  await copyImageWithInit(image, variant, edited);
  const options = { image: variant, consoleLog: join(work, `${name}.log`) };
  const state = join(work, `${name}.state`);
  await saveBareTemplate(options, state);
  const draws: string[][] = [];
  for (const _ of [1, 2]) {
    const guest = await startFromBareTemplate(options, state);
    try {
      for (const deadline = performance.now() + answersWithinMs; ; await delay(50)) {
        const found = /drawn ((?:[0-9a-f-]{36} ?){16})\./.exec(await readFile(options.consoleLog, "latin1"))?.[1];
        if (found !== undefined) {
          draws.push(found.split(" "));
          break;
        }
        if (performance.now() > deadline) assert.fail("the guest drew nothing");
      }
    } finally {
      await guest.stop();
    }
    await rm(options.consoleLog);
  }
  return draws;
}

test("without reseeding two guests of one template draw the same, with a write alone too, and with it they do not", {
  timeout: 1_200_000,
}, async () => {
  const share = ([one = [], other = []]: readonly (readonly string[])[]) => one.some((uuid) => other.includes(uuid));
  assert.ok(share(await firstDraws("nothing", "")), "nothing is shared without it: the next lines show nothing");
  assert.ok(share(await firstDraws("mixed-only", "$bb cat /dev/vdc >/dev/urandom\n")));
  assert.ok(!share(await firstDraws("reseeded", reseeding)));
});

async function draw(guest: BareGuest): Promise<Drawn> {
  const leaf = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/vm` });
  const { client, close } = agentClient(guest, leaf, guest.tokens.vm);
  try {
    const command = ["/usr/bin/node", "-e", program];
    const chunks: Uint8Array[] = [];
    const requests = async function* () {
      yield { message: { case: "start", value: { command } } } as const;
      yield { message: { case: "stdinEnd", value: true } } as const;
    };
    for await (const { message } of client.exec(requests(), { timeoutMs: answersWithinMs })) {
      if (message.case === "stdout") chunks.push(message.value);
      if (message.case === "stderr") assert.fail(Buffer.from(message.value).toString());
    }
    return JSON.parse(Buffer.concat(chunks).toString()) as Drawn;
  } finally {
    close();
  }
}

/**
 * Randoms of the agent's own ServerHello, in plain text in the first record of each handshake, all answers to one ClientHello: nothing in them
 * is the caller's.
 */
async function serverRandoms(guest: BareGuest): Promise<readonly string[]> {
  const hello = await clientHello();
  const randoms: string[] = [];
  for (const deadline = performance.now() + answersWithinMs; randoms.length < handshakes; ) {
    const record = await firstRecord(guest.network.socketOf(agentPort), hello);
    if (record !== undefined && record[5] === 2) randoms.push(record.subarray(11, 43).toString("hex"));
    else if (performance.now() > deadline) assert.fail("the agent does not answer");
    else await delay(100);
  }
  return randoms;
}

function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const write = (chunk: Buffer, _encoding: string, done: () => void) => {
      resolve(chunk);
      done();
    };
    connectTls({
      socket: new Duplex({ read: () => {}, write }),
      servername: "bare.guest.internal",
      ALPNProtocols: ["h2"],
    }).on("error", () => {});
  });
}

/** What comes back first, or undefined when nothing does: the agent is not up yet, or has enough callers. */
function firstRecord(path: string, hello: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path, () => void socket.write(hello));
    let received = Buffer.alloc(0);
    const end = (record: Buffer | undefined) => {
      socket.destroy();
      resolve(record);
    };
    socket.setTimeout(20_000, () => end(undefined));
    socket.on("error", () => end(undefined)).on("close", () => end(undefined));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= 43) end(received);
    });
  });
}
