import type { Message } from "@bufbuild/protobuf";
import type { AuditPolicy, AuditSink } from "@lobsterd/chassis/audit.ts";

const widening = { kind: "widening", describe } as const;
/** `vm` waits for these in the middle of what it records itself. */
const wideningInside = { ...widening, outcome: "spool" } as const;
const narrowing = { kind: "narrowing", describe } as const;

/** Which calls are recorded before and after: what gives a secret reach waits for audit, what destroys one does not. */
export function createAuditPolicy(sink: AuditSink, spool: AuditSink): AuditPolicy {
  return {
    sink,
    spool,
    methods: {
      PutSecret: widening,
      BindSecret: widening,
      RotateRootKey: widening,
      CreateDataKey: wideningInside,
      UnwrapDataKey: wideningInside,
      AcquireInjectionLease: wideningInside,
      InjectSecrets: wideningInside,
      IssueGuestIdentity: wideningInside,
      // It goes on with what IssueGuestIdentity granted: without it an outage of audit would end every running guest's certificate.
      RenewGuestIdentity: narrowing,
      IssueGatewayToken: widening,
      ShredTenant: narrowing,
      DeleteSecret: narrowing,
      IssueClientCertificate: { kind: "widening", describe: describeClient },
      RevokeClientCertificate: { kind: "narrowing", describe: describeClient },
    },
  };
}

/** A request's tenant, and the secret's name or the microVM it acts on. */
function describe(request: Message) {
  const generation = "generation" in request && typeof request.generation === "number" ? request.generation : 0;
  return {
    tenant: field(request, "tenant"),
    resource: field(request, "name") || field(request, "vmId") || field(request, "objectId"),
    generation,
  };
}

/** As root's tools name what they issue and revoke. */
function describeClient(request: Message) {
  const [name, serialNumber] = [field(request, "name"), field(request, "serialNumber")];
  return { tenant: "", resource: `client/${name}${serialNumber === "" ? "" : `/${serialNumber}`}` };
}

function field(request: Message, name: string): string {
  const value: unknown = name in request ? Reflect.get(request, name) : "";
  return typeof value === "string" ? value : "";
}
