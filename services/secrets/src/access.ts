import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";

const write = ["role:operator"] as const;
const vm = ["service:vm"] as const;

/** Who may call what. People write secrets and see names; only `vm` moves them, and nobody reads one back. */
export const access: readonly AccessRule[] = [
  allow(SecretService, {
    putSecret: write,
    listSecrets: ["role:operator", "role:viewer"],
    deleteSecret: write,
    bindSecret: write,
    acquireInjectionLease: vm,
    injectSecrets: vm,
    issueGuestIdentity: vm,
    renewGuestIdentity: vm,
    createDataKey: vm,
    unwrapDataKey: vm,
    shredTenant: vm,
    issueGatewayToken: write,
    rotateRootKey: write,
  }),
];
