import type { DescService } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { StackEnv } from "./stack-env.ts";

/** Clients of every service of a stack, with the certificate that the environment names. */
export interface StackClients {
  readonly tenants: Client<typeof TenantService>;
  readonly host: Client<typeof HostService>;
  readonly net: Client<typeof NetworkService>;
  readonly routes: Client<typeof RouteService>;
  readonly secrets: Client<typeof SecretService>;
  readonly clientCertificates: Client<typeof ClientService>;
  readonly audit: Client<typeof AuditService>;
}

/** Where the services of a stack are, and the certificate to call them with. */
export type StackAddresses = Pick<
  StackEnv,
  | "LOBSTERD_GRPC"
  | "LOBSTERD_GRPC_NET"
  | "LOBSTERD_GRPC_PROXY"
  | "LOBSTERD_GRPC_SECRETS"
  | "LOBSTERD_GRPC_AUDIT"
  | "LOBSTERD_DOMAIN"
  | "LOBSTERD_CA"
  | "LOBSTERD_CERT"
  | "LOBSTERD_KEY"
>;

/** A spawn under emulation takes seconds, and several wait for one another. */
const callLimitMs = 240_000;

/** `HOST:PORT`, or the absolute path of a Unix socket with or without `unix:` before it; `undefined` for anything else. */
export function parseAddress(text: string): { unixPath: string } | { host: string; port: number } | undefined {
  const { unixPath, host, port } =
    /^(?:(?:unix:)?(?<unixPath>\/.+)|(?<host>[^\s:/]+):(?<port>\d{1,5}))$/.exec(text)?.groups ?? {};
  if (unixPath !== undefined) return { unixPath };
  return host === undefined || Number(port) > 65_535 ? undefined : { host, port: Number(port) };
}

/** Connects at the first call. A unary call has `timeoutMs`, a stream has no limit. */
export function connectStack(env: StackAddresses, timeoutMs = callLimitMs): StackClients {
  const tls = {
    certificatePath: env.LOBSTERD_CERT,
    keyPath: env.LOBSTERD_KEY,
    platformCaPath: env.LOBSTERD_CA,
    trustDomain: env.LOBSTERD_DOMAIN,
  };
  const client = <S extends DescService>(service: S, name: string, text: string) => {
    const address = parseAddress(text);
    if (address === undefined) throw new Error(`not an address: ${text}`);
    return createServiceClient(service, { service: name, ...address }, tls, { timeoutMs });
  };
  return {
    tenants: client(TenantService, "vm", env.LOBSTERD_GRPC),
    host: client(HostService, "vm", env.LOBSTERD_GRPC),
    net: client(NetworkService, "net", env.LOBSTERD_GRPC_NET),
    routes: client(RouteService, "proxy", env.LOBSTERD_GRPC_PROXY),
    secrets: client(SecretService, "secrets", env.LOBSTERD_GRPC_SECRETS),
    clientCertificates: client(ClientService, "secrets", env.LOBSTERD_GRPC_SECRETS),
    audit: client(AuditService, "audit", env.LOBSTERD_GRPC_AUDIT),
  };
}
