import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { GuestName } from "../store/identity-store.ts";
import type { GuestFiles } from "./guest-agent.ts";
import type { RunningService } from "./running-service.ts";

/** A microVM of `tenant` that nothing else has. */
export function newGuest(tenant: string, generation = 1): GuestName {
  return { tenant, vmId: randomBytes(16).toString("hex"), generation };
}

/** Has an identity issued to `guest`, as `vm` does, and writes it where a server can read it. */
export async function issuedLeaf(service: RunningService, guest: GuestName): Promise<GuestFiles> {
  const issued = await service.as("vm").issueGuestIdentity({ requestId: randomUUID(), ...guest });
  const directory = mkdtempSync(join(service.directory, "leaf-"));
  const certificatePath = join(directory, "certificate.pem");
  const keyPath = join(directory, "key.pem");
  writeFileSync(certificatePath, issued.certificatePem);
  writeFileSync(keyPath, issued.privateKeyPem?.value ?? "", { mode: 0o600 });
  return { certificatePath, keyPath };
}

/** Acquires the injection lease of `guest`, as `vm` does when the agent has answered. */
export function acquireLease(service: RunningService, guest: GuestName) {
  return service.as("vm").acquireInjectionLease({ requestId: randomUUID(), ...guest });
}

/** Asks for the injection into `guest` at `address`, under whatever lease it has. */
export function injectLeased(
  service: RunningService,
  guest: GuestName,
  address: string,
  requestId = randomUUID(),
  labels: Record<string, string> = {},
) {
  return service.as("vm").injectSecrets({ requestId, ...guest, guestAddress: address, labels });
}

/** Acquires the lease of `guest` unless it has had it, and asks for the injection at `address`. */
export async function inject(service: RunningService, guest: GuestName, address: string, requestId = randomUUID()) {
  const reason = await reasonFrom(acquireLease(service, guest));
  if (reason !== "OK" && reason !== "LEASE_USED") throw new Error(`no lease: ${reason}`);
  return await injectLeased(service, guest, address, requestId);
}

/** Puts and binds a secret, as an operator does. */
export async function putBound(service: RunningService, tenant: string, name: string, value: string): Promise<void> {
  const operator = service.as("operator");
  await operator.putSecret({ requestId: randomUUID(), tenant, name, value: { value: Buffer.from(value) } });
  await operator.bindSecret({
    requestId: randomUUID(),
    tenant,
    name,
    target: { target: { case: "file", value: {} } },
  });
}

/** The stable reason with which `call` fails; `"OK"` if it does not. */
export async function reasonFrom(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "OK";
  } catch (error) {
    return reasonOf(error) ?? String(error);
  }
}
