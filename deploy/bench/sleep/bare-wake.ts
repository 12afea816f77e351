import { createHash, randomBytes, webcrypto } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { type BareGuest, bootTrustDomain } from "../../guest/image/bare-boot.ts";
import { agentClient } from "../../guest/image/boot-client.ts";

const generation = 2;
const connectLimitMs = 60_000;

/**
 * Does to a restored guest what a wake has to do before it answers, over as many connections: clock, entropy and a key, its certificate, an injection, and
 * the end of its sleep. With it a bare restore has a wake's handshakes with the emulated guest too, and nothing of a control plane.
 */
export async function wakeByHand(guest: BareGuest): Promise<void> {
  const leafOf = (service: string) => guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/${service}` });
  const [vm, secrets] = await Promise.all([leafOf("vm"), leafOf("secrets")]);
  const as = async (leaf: typeof vm, token: string, use: (client: Client) => Promise<unknown>): Promise<void> => {
    const { client, close } = agentClient(guest, leaf, token);
    try {
      await use(client);
    } finally {
      close();
    }
  };
  await as(vm, guest.tokens.vm, async (client) => {
    const clock = { hostTime: timestampFromMs(Date.now()), entropy: { value: randomBytes(64) } };
    const { publicKey } = await onceConnected(() => client.createIdentityKey({ generation, clock }));
    const certificatePem = await certify(guest, publicKey);
    const tokenDigests = { vm: digest(guest.tokens.vm), secrets: digest(guest.tokens.secrets) };
    const { certificatePem: platformCaPem } = guest.platform;
    await client.installIdentity({ generation, certificatePem, platformCaPem, tokenDigests });
  });
  await as(secrets, guest.tokens.secrets, (client) => client.injectSecrets({ secrets: [] }));
  await as(vm, guest.tokens.vm, (client) => client.completeResume({ generation }));
}

type Client = ReturnType<typeof agentClient>["client"];

/** A guest that was just let go on may not take its first connection. */
async function onceConnected<T>(call: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + connectLimitMs; ; await delay(10)) {
    try {
      return await call();
    } catch (error) {
      if (ConnectError.from(error).isWireError || performance.now() > deadline) throw error;
    }
  }
}

async function certify(guest: BareGuest, spki: Uint8Array): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const publicKey = await webcrypto.subtle.importKey("spki", Uint8Array.from(spki), algorithm, true, ["verify"]);
  const { tenant, vmId } = guest.identity;
  const uri = `spiffe://${bootTrustDomain}/guest/${tenant}/${vmId}/${generation}`;
  const leaf = await guest.guests.issue({ uri, dns: [`${tenant}.guest.internal`], publicKey });
  return leaf.certificatePem;
}

const digest = (token: string) => createHash("sha256").update(token).digest();
