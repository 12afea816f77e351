import type { Message } from "@bufbuild/protobuf";
import type { AuditPolicy, AuditSink } from "@lobsterd/chassis/audit.ts";

/** The tenant that a request names, if it names one; of a stream, its first message. */
function named(request: Message) {
  const tenant = "name" in request && typeof request.name === "string" ? request.name : "";
  return { tenant, resource: "" };
}

/** Which calls are recorded before and after: giving a tenant a microVM or a reach waits for audit, taking it away does not. */
export function createAuditPolicy(sink: AuditSink, spool: AuditSink): AuditPolicy {
  return {
    sink,
    spool,
    methods: {
      SpawnTenant: { kind: "widening", describe: named },
      UpdateTenantEgress: { kind: "widening", describe: named },
      StreamTenantLogs: { kind: "widening", describe: named },
      EvictTenant: { kind: "narrowing", describe: named },
    },
  };
}
