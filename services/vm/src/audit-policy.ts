import type { Message } from "@bufbuild/protobuf";
import type { AuditPolicy, AuditSink } from "@lobsterd/chassis/audit.ts";
import type {
  ExecTenantRequest,
  ImportBackupRequest,
  WakeTenantRequest,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { causeText } from "./wakes/wake-cause.ts";

/** The tenant that a request names, if it names one. */
function named(request: Message) {
  const tenant = "name" in request && typeof request.name === "string" ? request.name : "";
  return { tenant, resource: "" };
}

/** A command is named by its first message; what it is told and says is not recorded. */
function started(request: Message) {
  const { message } = request as ExecTenantRequest;
  return { tenant: message.case === "start" ? message.value.name : "", resource: "" };
}

/** The tenant and the backup that a request names. */
function namedBackup(request: Message) {
  const resource = "backupId" in request && typeof request.backupId === "string" ? request.backupId : "";
  return { ...named(request), resource };
}

function startedImport(request: Message) {
  const { message } = request as ImportBackupRequest;
  return { tenant: message.case === "start" ? message.value.name : "", resource: "" };
}

/** A wake has no person behind it: what caused it is its resource. */
function woken(request: Message) {
  const { name, cause } = request as WakeTenantRequest;
  return { tenant: name, resource: `cause:${causeText(cause) ?? "unknown"}` };
}

/** Which calls are recorded before and after: giving a tenant a microVM or a reach waits for audit, taking it away does not. */
export function createAuditPolicy(sink: AuditSink, spool: AuditSink): AuditPolicy {
  return {
    sink,
    spool,
    methods: {
      SpawnTenant: { kind: "widening", describe: named },
      UpdateTenantEgress: { kind: "widening", describe: named },
      UpdateTenant: { kind: "widening", describe: named },
      ExecTenant: { kind: "widening", describe: started },
      StreamTenantLogs: { kind: "widening", describe: named },
      RepairTenant: { kind: "widening", describe: named },
      ResumeTenant: { kind: "widening", describe: named },
      WakeTenant: { kind: "widening", describe: woken },
      SuspendTenant: { kind: "narrowing", describe: named },
      CreateBackup: { kind: "widening", describe: named },
      RestoreBackup: { kind: "widening", describe: namedBackup },
      ExportBackup: { kind: "widening", describe: namedBackup },
      ImportBackup: { kind: "widening", describe: startedImport },
      DeleteBackup: { kind: "narrowing", describe: namedBackup },
      DrainHost: { kind: "narrowing", describe: named },
      UndrainHost: { kind: "widening", describe: named },
      EvictTenant: { kind: "narrowing", describe: named },
    },
  };
}
