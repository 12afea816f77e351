import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, randomUUID, sign, X509Certificate } from "node:crypto";
import { after, before, test } from "node:test";
import type { GuestName } from "../store/identity-store.ts";
import { acquireLease, inject, injectLeased, issuedLeaf, newGuest, reasonFrom } from "../testing/guests.ts";
import { type RunningService, runningService, trustDomain } from "../testing/running-service.ts";
import { guestUri } from "./guest-name.ts";

let service: RunningService;
before(async () => {
  service = await runningService();
});
after(() => service.close());

type Key = { readonly publicKey: Buffer; readonly proof: Buffer };

/** A key as a guest makes it, with the proof for `guest`. */
function guestKey(guest: GuestName, namedCurve = "P-256", signer?: KeyObject): Key {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const proved = Buffer.concat([Buffer.from(`lobsterd guest key v1\0${guestUri(trustDomain, guest)}\0`), spki]);
  const proof = sign("sha256", proved, { key: signer ?? privateKey, dsaEncoding: "ieee-p1363" });
  return { publicKey: spki, proof };
}

const renew = (guest: GuestName, key: Key = guestKey(guest)) =>
  service.as("vm").renewGuestIdentity({ requestId: randomUUID(), ...guest, ...key });

async function issued(tenant: string): Promise<GuestName> {
  const guest = newGuest(tenant);
  await issuedLeaf(service, guest);
  return guest;
}

test("the certificate is for the guest's own key, under the guest's name, for an hour in all", async () => {
  const guest = await issued("renew-one");
  const key = guestKey(guest);
  const answer = await renew(guest, key);
  const certificate = new X509Certificate(answer.certificatePem);
  assert.deepEqual(certificate.publicKey.export({ type: "spki", format: "der" }), key.publicKey);
  assert.match(certificate.subjectAltName ?? "", new RegExp(`URI:${guestUri(trustDomain, guest)}, `));
  assert.equal(certificate.validToDate.getTime() - certificate.validFromDate.getTime(), 3_600_000);
  assert.equal(answer.agentTokenDigest.length, 32);
  const [event] = service.events.filter(({ name, tenant }) => name === "identity-renewed" && tenant === guest.tenant);
  assert.equal(event?.data?.vmId, guest.vmId);
});

test("a renewal opens no second injection", async () => {
  const guest = await issued("renew-lease");
  await acquireLease(service, guest);
  service.advance(10 * 60_000);
  await renew(guest);
  assert.equal(await reasonFrom(acquireLease(service, guest)), "LEASE_USED");
  assert.equal(await reasonFrom(injectLeased(service, guest, "127.0.0.9")), "LEASE_EXPIRED");
});

test("a later generation is issued anew, and the one before it is stale", async () => {
  const guest = await issued("renew-later");
  const later = { ...guest, generation: 2 };
  await renew(later);
  assert.equal(await reasonFrom(renew(guest)), "STALE_GENERATION");
  // Nobody listens there: that it was tried shows that the lease is open.
  assert.equal(await reasonFrom(inject(service, later, "127.0.0.9")), "GUEST_UNREACHABLE");
});

test("a key without its proof, another's proof and another kind of key are refused", async () => {
  const guest = await issued("renew-proof");
  const key = guestKey(guest);
  const other = await issued("renew-other");
  const offCurve = Buffer.from(key.publicKey);
  offCurve.fill(1, 40);
  const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const wrong: readonly Key[] = [
    { ...key, proof: Buffer.alloc(64) },
    { ...key, publicKey: offCurve },
    guestKey(other),
    guestKey({ ...guest, generation: 2 }),
    guestKey(guest, "P-256", stranger),
    { ...key, publicKey: Buffer.concat([Buffer.alloc(27), key.publicKey.subarray(27)]) },
  ];
  for (const [index, one] of wrong.entries()) {
    assert.equal(await reasonFrom(renew(guest, one)), "GUEST_KEY_REFUSED", String(index));
  }
});

test("a microVM that has no identity, or another tenant's, is not renewed", async () => {
  const guest = await issued("renew-mine");
  assert.equal(await reasonFrom(renew(newGuest("renew-none"))), "LEASE_MISSING");
  assert.equal(await reasonFrom(renew({ ...guest, tenant: "renew-theirs" })), "VM_OF_ANOTHER_TENANT");
  const revoked = await issued("renew-revoked");
  await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: revoked.tenant, vmId: revoked.vmId });
  assert.equal(await reasonFrom(renew(revoked)), "LEASE_MISSING");
});

test("only vm may renew", async () => {
  const guest = await issued("renew-who");
  for (const caller of ["operator", "net", "viewer"] as const) {
    const call = service.as(caller).renewGuestIdentity({ requestId: randomUUID(), ...guest, ...guestKey(guest) });
    assert.equal(await reasonFrom(call), "NOT_ALLOWED", caller);
  }
});
