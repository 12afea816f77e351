import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { acquireInjectionLease } from "./rpc/acquire-injection-lease.ts";
import { bindSecret } from "./rpc/bind-secret.ts";
import { createDataKey } from "./rpc/create-data-key.ts";
import { deleteSecret } from "./rpc/delete-secret.ts";
import { injectSecrets } from "./rpc/inject-secrets.ts";
import { issueClientCertificate } from "./rpc/issue-client-certificate.ts";
import { issueGatewayToken } from "./rpc/issue-gateway-token.ts";
import { issueGuestIdentity } from "./rpc/issue-guest-identity.ts";
import { listClientCertificates } from "./rpc/list-client-certificates.ts";
import { listSecrets } from "./rpc/list-secrets.ts";
import { putSecret } from "./rpc/put-secret.ts";
import { renewGuestIdentity } from "./rpc/renew-guest-identity.ts";
import { revokeClientCertificate } from "./rpc/revoke-client-certificate.ts";
import { rotateRootKey } from "./rpc/rotate-root-key.ts";
import { shredTenant } from "./rpc/shred-tenant.ts";
import { unwrapDataKey } from "./rpc/unwrap-data-key.ts";
import type { SecretsContext } from "./service.ts";

/** Every RPC of `secrets` and what answers it. */
export function createRoutes(context: SecretsContext): readonly Routes[] {
  return [
    defineRoutes(SecretService, {
      putSecret: putSecret(context),
      listSecrets: listSecrets(context),
      deleteSecret: deleteSecret(context),
      bindSecret: bindSecret(context),
      acquireInjectionLease: acquireInjectionLease(context),
      injectSecrets: injectSecrets(context),
      issueGuestIdentity: issueGuestIdentity(context),
      renewGuestIdentity: renewGuestIdentity(context),
      createDataKey: createDataKey(context),
      unwrapDataKey: unwrapDataKey(context),
      shredTenant: shredTenant(context),
      issueGatewayToken: issueGatewayToken(context),
      rotateRootKey: rotateRootKey(context),
    }),
    defineRoutes(ClientService, {
      issueClientCertificate: issueClientCertificate(context),
      revokeClientCertificate: revokeClientCertificate(context),
      listClientCertificates: listClientCertificates(context),
    }),
  ];
}
