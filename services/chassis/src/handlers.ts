import { createConnectRouter } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { compressionGzip } from "@connectrpc/connect-node";
import { type AccessRule, indexRules } from "./access.ts";
import type { AuditPolicy } from "./audit.ts";
import { requireAuditClasses } from "./audit-class.ts";
import { auditCalls } from "./audit-interceptor.ts";
import { type RefusalRecorder, recordRefusals } from "./audit-refusals.ts";
import { type ClientTable, noClients } from "./client-list.ts";
import { type DeadlineBounds, enforceDeadline, withDeadline } from "./deadline.ts";
import { createGate, type Gate } from "./gate.ts";
import { logCalls, measureCalls, translateErrors, validateRequests } from "./interceptors.ts";
import type { Logger } from "./logger.ts";
import { keepPerson } from "./on-behalf-of.ts";
import { limitOwners, type Ownership } from "./owners.ts";
import type { RevocationTable } from "./revocations.ts";
import type { RoleTable } from "./roles.ts";
import type { Routes } from "./routes.ts";
import { serverTracing } from "./trace-interceptors.ts";
import { explainFailures } from "./unreadable-requests.ts";

const maxMessageBytes = 1024 * 1024;

/** Everything that decides how a call is handled, without a network. */
export interface HandlerOptions {
  readonly domain: string;
  readonly trustDomain: string;
  readonly routes: readonly Routes[];
  readonly access: readonly AccessRule[];
  readonly roles: RoleTable;
  readonly revocations: RevocationTable;
  /** Certificates of the clients' authority; without it none counts. */
  readonly clients?: ClientTable;
  readonly logger: Logger;
  /** What is whose; needed where a row of `access` lets owners in by a tenant's name. */
  readonly ownership?: Ownership | undefined;
  readonly deadlines: DeadlineBounds;
  readonly audit?: AuditPolicy | undefined;
  readonly shutdownSignal?: AbortSignal;
}

/** The RPC handlers of one server, the gate before them and what records its refusals; used by the real server and by the in-memory one of tests. */
export function createHandlers(options: HandlerOptions): {
  handlers: UniversalHandler[];
  gate: Gate;
  refusals?: RefusalRecorder;
} {
  const services = options.routes.map(({ service }) => service);
  const methodNames = new Set(services.flatMap(({ methods }) => methods.map(({ name }) => name)));
  for (const name of [...Object.keys(options.deadlines.methodsMs), ...Object.keys(options.audit?.methods ?? {})]) {
    if (!methodNames.has(name)) throw new Error(`no served service has a method ${name}`);
  }
  requireAuditClasses(services);
  const refusals = options.audit === undefined ? undefined : recordRefusals(options.audit.spool, options.logger);
  const rules = indexRules(services, options.access);
  const gate = createGate({
    ...options,
    clients: options.clients ?? noClients,
    rules,
    ...(refusals === undefined ? {} : { refused: refusals.refused }),
  });
  const router = createConnectRouter({
    acceptCompression: [compressionGzip],
    readMaxBytes: maxMessageBytes,
    writeMaxBytes: maxMessageBytes,
    requestGate: (context) => gate.check(context),
    ...(options.shutdownSignal === undefined ? {} : { shutdownSignal: options.shutdownSignal }),
    // Outermost first. The gate stands before all of them; audit is outside validation so that a refused request is recorded.
    interceptors: [
      serverTracing,
      measureCalls,
      logCalls(options.logger),
      translateErrors(options.domain),
      enforceDeadline,
      keepPerson,
      ...(options.audit === undefined ? [] : [auditCalls(options.audit, options.logger)]),
      validateRequests(services, options.domain),
      limitOwners(rules, options.ownership),
    ],
  });
  for (const { register } of options.routes) register(router);
  const handlers = router.handlers.map((handler) =>
    explainFailures(withDeadline(handler, options.deadlines), options.domain, options.logger),
  );
  return { handlers, gate, ...(refusals === undefined ? {} : { refusals }) };
}
