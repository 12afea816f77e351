/**
 * Every service of a stack in memory, as far as the commands use it: the proto's rules, gates, errors and wire form are real.
 * Each is in the file that is named after it.
 */
import { allow } from "@lobsterd/chassis/access.ts";
import { testHarness } from "@lobsterd/chassis/testing.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { ControlVerdict, HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { StackClients } from "../../client/clients.ts";
import { auditRoutes, type FakeAudit } from "./fake-audit.ts";
import { clientCertificateRoutes, type FakeClientCertificates } from "./fake-client-certificates.ts";
import { netRoutes } from "./fake-net.ts";
import { proxyRoutes } from "./fake-proxy.ts";
import { type FakeSecrets, secretRoutes } from "./fake-secrets.ts";
import { type FakeVm, vmRoutes } from "./fake-vm.ts";

/** A stack and what a test may change or look at. */
export interface FakeStack extends FakeVm, FakeSecrets, FakeAudit {
  readonly clients: StackClients;
  readonly clientCertificates: FakeClientCertificates;
}

type State = Omit<FakeStack, "clients">;

/** A stack whose caller has a role. */
export function fakeStack(role: "role:operator" | "role:viewer" = "role:operator"): FakeStack {
  const state: State = {
    ...{ tenants: new Map(), backups: new Map(), secrets: new Map(), secretValues: new Map() },
    ...{ logLines: [], spawnFailure: undefined, drain: undefined, execRequests: [], holds: new Set(), recordCount: 3 },
    clientCertificates: { requests: [], issued: [], revokedNames: new Set() },
    controls: [{ controlId: "HOST-01", verdict: ControlVerdict.PASS, required: true, measured: "on" }],
  };
  const clientRoutes = clientCertificateRoutes(state.clientCertificates);
  const routes = [
    ...vmRoutes(state),
    secretRoutes(state),
    clientRoutes,
    netRoutes(),
    proxyRoutes(),
    auditRoutes(state),
  ];
  const access = [
    everyMethod(TenantService, (name) => (/^(get|list|watch)/.test(name) ? people : operators)),
    everyMethod(HostService, (name) => (/^(get|check)/.test(name) ? people : operators)),
    everyMethod(SecretService, () => operators),
    everyMethod(ClientService, () => operators),
    everyMethod(NetworkService, () => people),
    everyMethod(RouteService, () => people),
    everyMethod(AuditService, () => people),
  ];
  const harness = testHarness({ routes, access });
  return Object.assign(state, {
    clients: {
      tenants: harness.as(role, TenantService),
      host: harness.as(role, HostService),
      net: harness.as(role, NetworkService),
      routes: harness.as(role, RouteService),
      secrets: harness.as(role, SecretService),
      clientCertificates: harness.as(role, ClientService),
      audit: harness.as(role, AuditService),
    },
  });
}

const operators = ["role:operator"] as const;
const people = ["role:operator", "role:viewer"] as const;

function everyMethod(
  service: Parameters<typeof allow>[0],
  row: (localName: string) => typeof operators | typeof people,
) {
  return allow(service, Object.fromEntries(service.methods.map(({ localName }) => [localName, row(localName)])));
}
