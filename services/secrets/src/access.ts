import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";

const write = ["role:operator"] as const;
const vm = ["service:vm"] as const;
const ownerWrite = [...write, "owner:tenant"] as const;

/** Who may call what. People write secrets and see names, owners those of their tenants; only `vm` moves them, and nobody reads one back. */
export const access: readonly AccessRule[] = [
  allow(SecretService, {
    putSecret: ownerWrite,
    listSecrets: ["role:operator", "role:viewer", "owner:tenant"],
    deleteSecret: ownerWrite,
    bindSecret: ownerWrite,
    acquireInjectionLease: vm,
    injectSecrets: vm,
    issueGuestIdentity: vm,
    renewGuestIdentity: vm,
    createDataKey: vm,
    unwrapDataKey: vm,
    shredTenant: vm,
    issueGatewayToken: ownerWrite,
    rotateRootKey: write,
  }),
  allow(ClientService, {
    issueClientCertificate: write,
    revokeClientCertificate: write,
    listClientCertificates: write,
  }),
];
