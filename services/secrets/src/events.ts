import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { ClientRecord } from "./clients/client-store.ts";
import type { Delivered } from "./injection/deliveries.ts";
import { secretsMetrics } from "./metrics.ts";
import type { RootRotated } from "./sealed/root-rotation.ts";
import type { GuestName } from "./store/identity-store.ts";
import type { SecretRecord } from "./store/secret-store.ts";

/** What happens to secrets: one function per event, each feeding log and bus. None takes a value. */
export interface SecretEvents {
  secretStored(secret: SecretRecord): void;
  secretBound(secret: SecretRecord): void;
  secretDeleted(tenant: string, name: string): void;
  identityIssued(guest: GuestName, serial: string, expireTimeMs: number): void;
  /** More leases than are ever asked for by an ordinary host: whoever asks may be collecting secrets. */
  leaseAlarm(leaseCount: number): void;
  identityRenewed(guest: GuestName, serial: string, expireTimeMs: number): void;
  secretsInjected(guest: GuestName, delivered: Delivered): void;
  /** A running guest was given its set anew. */
  secretsRotated(guest: GuestName, delivered: Delivered): void;
  /** A try failed and there will be another. */
  rotationDelayed(guest: GuestName, error: unknown): void;
  /** A running guest stays behind until the next change or sweep. */
  rotationFailed(guest: GuestName, reason: string): void;
  clientCertificateIssued(client: ClientRecord): void;
  clientCertificatesRevoked(name: string, serialNumbers: readonly string[]): void;
  identitiesRevoked(tenant: string, vmIds: readonly string[]): void;
  /** The provider cannot unwrap it any more either. */
  keyDestroyed(tenant: string, tenantKeyId: string): void;
  rootKeyRotated(rotated: RootRotated): void;
  tenantShredded(tenant: string, tenantKeyId: string | undefined, vmIds: readonly string[]): void;
}

export function createSecretEvents(bus: EventBus, logger: Logger): SecretEvents {
  function tell(tenant: string, name: string, message: string, data: Record<string, unknown>): void {
    logger.info({ tenant, ...data }, message);
    bus.publish({ tenant, name, data });
  }
  // The log has a field rule that hides what is called `secret`, so a secret's name is called `secretName`.
  const facts = ({ name, version, target, label }: SecretRecord) => ({ secretName: name, version, target, label });
  return {
    secretStored: (secret) => tell(secret.tenant, "secret-stored", "secret stored", facts(secret)),
    secretBound: (secret) => tell(secret.tenant, "secret-bound", "secret bound", facts(secret)),
    secretDeleted: (tenant, name) => tell(tenant, "secret-deleted", "secret deleted", { secretName: name }),
    identityIssued: ({ tenant, vmId, generation }, serial, expireTimeMs) =>
      tell(tenant, "identity-issued", "guest identity issued", { vmId, generation, serial, expireTimeMs }),
    leaseAlarm(leaseCount) {
      secretsMetrics.leaseAlarms.add(1);
      logger.error({ leaseCount, windowSeconds: 60 }, "too many injection leases in a minute");
      bus.publish({ tenant: "", name: "lease-alarm", data: { leaseCount, windowSeconds: 60 } });
    },
    identityRenewed: ({ tenant, vmId, generation }, serial, expireTimeMs) =>
      tell(tenant, "identity-renewed", "guest identity renewed", { vmId, generation, serial, expireTimeMs }),
    secretsInjected: ({ tenant, vmId, generation }, delivered) =>
      tell(tenant, "secrets-injected", "secrets injected", { vmId, generation, delivered }),
    secretsRotated: ({ tenant, vmId, generation }, delivered) =>
      tell(tenant, "secrets-rotated", "secrets rotated into a running guest", { vmId, generation, delivered }),
    rotationDelayed: ({ tenant, vmId, generation }, error) =>
      logger.warn({ err: error, tenant, vmId, generation }, "secrets were not rotated into a guest, trying again"),
    rotationFailed({ tenant, vmId, generation }, reason) {
      secretsMetrics.rotationsFailed.add(1);
      tell(tenant, "rotation-failed", "a running guest is behind with its secrets", { vmId, generation, reason });
    },
    clientCertificateIssued: ({ name, role, serialNumber, expireTimeMs }) =>
      tell("", "client-certificate-issued", "client certificate issued", {
        ...{ client: name, role, serial: serialNumber, expireTimeMs },
      }),
    clientCertificatesRevoked: (name, serialNumbers) =>
      tell("", "client-certificates-revoked", "client certificates revoked", {
        ...{ client: name, serials: serialNumbers.slice(0, 64) },
      }),
    identitiesRevoked: (tenant, vmIds) =>
      tell(tenant, "identities-revoked", "guest identities revoked", { vmIds: vmIds.slice(0, 64) }),
    keyDestroyed: (tenant, tenantKeyId) => tell(tenant, "key-destroyed", "tenant key destroyed", { tenantKeyId }),
    rootKeyRotated: (rotated) => tell("", "root-key-rotated", "root key rotated", { ...rotated }),
    tenantShredded: (tenant, tenantKeyId, vmIds) =>
      tell(tenant, "shredded", "tenant shredded", { tenantKeyId: tenantKeyId ?? "", vmIds: vmIds.slice(0, 64) }),
  };
}
