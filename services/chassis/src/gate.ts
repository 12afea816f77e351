import type { DescMethod } from "@bufbuild/protobuf";
import { Code, type ConnectError, createContextKey, type HandlerContext } from "@connectrpc/connect";
import { type AccessRule, isAllowed } from "./access.ts";
import type { Refusal } from "./audit-refusals.ts";
import { type Caller, callerKey, endOf, identify, identifyIssued, type Peer } from "./caller.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import type { ClientTable } from "./client-list.ts";
import { defineErrors, toConnectError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import type { RevocationTable } from "./revocations.ts";
import type { RoleTable } from "./roles.ts";

/** What the connection of a request proved; set by the listener. */
export const peerKey = createContextKey<Peer>(
  { verified: false, reason: "CERTIFICATE_REQUIRED", detail: "no connection" },
  { description: "verified peer" },
);

/** Decides a call from its headers and its connection, before its body is read. */
export interface Gate {
  /** For a known method; sets the caller for the handler. Throws UNAUTHENTICATED or PERMISSION_DENIED. */
  check(context: Pick<HandlerContext, "method" | "values">): void;
  /** For a path that is no method: whoever may call nothing learns nothing about what exists. */
  identify(peer: Peer, path: string): Caller;
}

/** The gate of one server. Each refusal is one line in the log with its reason, and `refused` is told of it. */
export function createGate(options: {
  readonly trustDomain: string;
  readonly domain: string;
  readonly rules: ReadonlyMap<string, AccessRule>;
  readonly roles: RoleTable;
  readonly revocations: RevocationTable;
  readonly clients: ClientTable;
  readonly logger: Logger;
  readonly refused?: (refusal: Refusal) => void;
}): Gate {
  const { domain, logger } = options;
  const fail = defineErrors(domain, {
    CERTIFICATE_REQUIRED: Code.Unauthenticated,
    CERTIFICATE_INVALID: Code.Unauthenticated,
    CERTIFICATE_REVOKED: Code.Unauthenticated,
    NOT_ALLOWED: Code.PermissionDenied,
  });

  type Facts = { path: string; method: DescMethod | undefined; caller: string; detail: string };
  const refuse = (reason: Parameters<typeof fail>[0], { path, method, caller, detail }: Facts) => {
    logger.warn({ reason, method: path, caller, detail }, "call refused");
    chassisMetrics.refusedCalls.add(1, { reason });
    // An expired or revoked certificate says who the caller was, and not who it is.
    options.refused?.({ caller: reason === "NOT_ALLOWED" ? caller : "", method, reason });
    const message =
      reason === "NOT_ALLOWED" ? "the caller may not call this method" : "a valid client certificate is required";
    return toConnectError(fail(reason, message));
  };

  const authenticate = (peer: Peer, path: string, method?: DescMethod): Caller => {
    if (!peer.verified) throw refuse(peer.reason, { path, method, caller: "", detail: peer.detail });
    // A connection outlives its certificate, and so would the identity if only the handshake were believed.
    const issued = options.clients();
    const end = endOf(peer, { revoked: options.revocations(), issued });
    if (end !== undefined) {
      const detail = end === "CERTIFICATE_REVOKED" ? "certificate is revoked" : "certificate has expired";
      throw refuse(end, { path, method, caller: peer.uri, detail });
    }
    const roles = options.roles();
    const caller =
      peer.authority === "platform"
        ? identify(peer.uri, options.trustDomain, roles)
        : identifyIssued(peer, options.trustDomain, issued, roles);
    if (caller.kind === "stranger") throw refuse("NOT_ALLOWED", { path, method, caller: peer.uri, detail: "no role" });
    return caller;
  };

  return {
    check({ method, values }) {
      const path = pathOf(method);
      const caller = authenticate(values.get(peerKey), path, method);
      if (!isAllowed(options.rules, method, caller)) {
        throw refuse("NOT_ALLOWED", { path, method, caller: caller.uri, detail: "no row in the allow table" });
      }
      values.set(callerKey, caller);
    },
    identify: (peer, path) => authenticate(peer, path),
  };
}

/** The answer to a caller that asks for a method this server does not have. */
export function unknownMethod(domain: string): ConnectError {
  const fail = defineErrors(domain, { METHOD_UNKNOWN: Code.Unimplemented });
  return toConnectError(fail("METHOD_UNKNOWN", "this server has no such method"));
}

function pathOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}
