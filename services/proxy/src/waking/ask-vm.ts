import { randomUUID } from "node:crypto";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import { codeName, reasonOf } from "@lobsterd/chassis/errors.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { type TenantService, WakeCause } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { AskVm, WakeVerdict } from "./wake.ts";

/** Where `vm` tells no time. What a tenant that cannot be woken costs `vm` is one question in so many seconds; a busy host is free again sooner. */
const retryS = { tenant: 30, host: 5 };
const maxRetryS = 3600;

/** Of these nobody knows what became of the wake: it may be under way. */
const unknownCodes: ReadonlySet<Code> = new Set([Code.Unavailable, Code.DeadlineExceeded, Code.Canceled, Code.Aborted]);
const hostReasons: ReadonlySet<string> = new Set(["WAKE_HOST_BUDGET", "BOOT_QUEUE_FULL"]);

/** Each question is the root of a trace that goes on in `vm` and in the guest. `limitMs` bounds it. */
export function askVmBy(vm: Pick<Client<typeof TenantService>, "wakeTenant">, limitMs: number): AskVm {
  return async (tenant, vmId, signal) => {
    const request = { requestId: randomUUID(), name: tenant, vmId, cause: WakeCause.REQUEST };
    try {
      await inSpan("wake-tenant", { "lobsterd.tenant": tenant, "lobsterd.vm_id": vmId }, () =>
        vm.wakeTenant(request, { signal, timeoutMs: limitMs }),
      );
      return { kind: "awake" };
    } catch (error) {
      return verdictOf(ConnectError.from(error));
    }
  };
}

function verdictOf(error: ConnectError): WakeVerdict {
  const reason = reasonOf(error) ?? codeName(error.code);
  if (unknownCodes.has(error.code)) return { kind: "unknown", reason };
  const told = Number(error.findDetails(ErrorInfoSchema)[0]?.metadata["retry_after_s"]);
  const scope = hostReasons.has(reason) ? "host" : "tenant";
  const retryAfterS = Number.isInteger(told) && told > 0 ? Math.min(told, maxRetryS) : retryS[scope];
  return { kind: "refused", scope, retryAfterS, reason };
}
