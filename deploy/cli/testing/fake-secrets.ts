import { create } from "@bufbuild/protobuf";
import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import {
  type SecretMetadata,
  SecretMetadataSchema,
  SecretService,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";

/** What tenants have been given, by `tenant/name`. */
export interface FakeSecrets {
  readonly secrets: Map<string, SecretMetadata>;
  readonly secretValues: Map<string, string>;
}

export function secretRoutes(state: FakeSecrets): Routes {
  return defineRoutes(SecretService, {
    putSecret({ tenant, name, value }) {
      const key = `${tenant}/${name}`;
      const version = (state.secrets.get(key)?.version ?? 0) + 1;
      const secret = create(SecretMetadataSchema, { tenant, name, version });
      state.secrets.set(key, secret);
      state.secretValues.set(key, Buffer.from(value?.value ?? []).toString("utf8"));
      return { secret };
    },
    listSecrets: ({ tenant }) => ({
      secrets: [...state.secrets.values()].filter((secret) => secret.tenant === tenant),
      page: {},
    }),
    deleteSecret({ tenant, name }) {
      state.secrets.delete(`${tenant}/${name}`);
      return {};
    },
    bindSecret({ tenant, name, target, label }) {
      const secret = create(SecretMetadataSchema, { tenant, name, version: 1, ...(target && { target }) });
      if (label !== undefined) secret.label = label;
      state.secrets.set(`${tenant}/${name}`, secret);
      return { secret };
    },
    issueGatewayToken: ({ tenant }) => ({ token: { value: Buffer.from(`lobsterd-test-token-of-${tenant}`) } }),
    ...{ acquireInjectionLease: unimplemented, injectSecrets: unimplemented, issueGuestIdentity: unimplemented },
    ...{ renewGuestIdentity: unimplemented, createDataKey: unimplemented, unwrapDataKey: unimplemented },
    rotateRootKey: () => ({ rootKeyId: "root-2", previousRootKeyId: "root-1", rewrappedCount: 3 }),
    shredTenant: unimplemented,
  });
}
