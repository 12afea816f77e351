/** `secrets` in memory: it remembers who has an identity and a key, and unwraps what it has wrapped. */
import { randomBytes } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  AcquireInjectionLeaseResponseSchema,
  CreateDataKeyResponseSchema,
  InjectSecretsResponseSchema,
  IssueGuestIdentityResponseSchema,
  RenewGuestIdentityResponseSchema,
  type SecretService,
  ShredTenantResponseSchema,
  UnwrapDataKeyResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { type AskedFailures, failAsAsked } from "./fake-failures.ts";

export interface FakeSecrets {
  /** VM ids with an identity. */
  readonly identities: Set<string>;
  /** Tenants that have a key. */
  readonly keys: Set<string>;
}

export function secretHandlers(state: FakeSecrets & AskedFailures): Partial<ServiceImpl<typeof SecretService>> {
  const { identities, keys } = state;
  const { attempt } = failAsAsked(state);
  const dataKeys = new Map<string, { readonly tenant: string; readonly object: string; readonly key: Buffer }>();
  return {
    issueGuestIdentity: ({ tenant, vmId }) => {
      identities.add(vmId);
      keys.add(tenant);
      attempt("issueGuestIdentity");
      return create(IssueGuestIdentityResponseSchema, {
        certificatePem: "certificate",
        privateKeyPem: { value: Buffer.from("key") },
        platformCaPem: "authority",
      });
    },
    createDataKey: ({ tenant, purpose, objectId }) => {
      keys.add(tenant);
      attempt("createDataKey");
      const key = randomBytes(32);
      const wrappedKey = randomBytes(16);
      dataKeys.set(wrappedKey.toString("hex"), { tenant, object: `${purpose}/${objectId}`, key });
      return create(CreateDataKeyResponseSchema, { plaintextKey: { value: key }, wrappedKey, keyId: "key-1" });
    },
    unwrapDataKey: ({ tenant, purpose, objectId, wrappedKey }) => {
      attempt("unwrapDataKey");
      const made = dataKeys.get(Buffer.from(wrappedKey).toString("hex"));
      if (made === undefined || made.tenant !== tenant || made.object !== `${purpose}/${objectId}`)
        throw new ConnectError("sealed by another key", Code.DataLoss);
      return create(UnwrapDataKeyResponseSchema, { plaintextKey: { value: made.key } });
    },
    acquireInjectionLease: () => create(AcquireInjectionLeaseResponseSchema),
    renewGuestIdentity: () => {
      attempt("renewGuestIdentity");
      return create(RenewGuestIdentityResponseSchema, {
        certificatePem: "certificate",
        platformCaPem: "authority",
        expireTime: timestampFromMs(Date.now() + 3_600_000),
        agentTokenDigest: new Uint8Array(32),
      });
    },
    injectSecrets: () => {
      attempt("injectSecrets");
      return create(InjectSecretsResponseSchema);
    },
    // Nobody here has a secret of their own, so a key is unused when its only microVM is gone.
    shredTenant: ({ tenant, vmId, withUnusedKey }) => {
      attempt("shredTenant");
      const isKeyOver = vmId === "" || withUnusedKey;
      if (isKeyOver) keys.delete(tenant);
      for (const [wrapped, made] of dataKeys) if (isKeyOver && made.tenant === tenant) dataKeys.delete(wrapped);
      if (vmId === "") identities.clear();
      else identities.delete(vmId);
      return create(ShredTenantResponseSchema);
    },
  };
}
