import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openAgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import { type AuditSink, createAuditClient, openAuditSpool, ownOutcome, recordRuns } from "@lobsterd/chassis/audit.ts";
import { openAuditCalls } from "@lobsterd/chassis/audit-open-calls.ts";
import { connectEvents, type EventBus } from "@lobsterd/chassis/events.ts";
import { openRequestLog, type RequestLog } from "@lobsterd/chassis/idempotency.ts";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger, type Logger } from "@lobsterd/chassis/logger.ts";
import { openRoles } from "@lobsterd/chassis/roles.ts";
import { type RunningServer, startServer } from "@lobsterd/chassis/server.ts";
import { access } from "./access.ts";
import { createAuditPolicy } from "./audit-policy.ts";
import { openClientAuthority } from "./clients/client-authority.ts";
import { type ClientCertificates, openClientCertificates } from "./clients/client-certificates.ts";
import { openClientStore } from "./clients/client-store.ts";
import type { Config } from "./config.ts";
import { createSecretEvents, type SecretEvents } from "./events.ts";
import { openGuestAuthority } from "./identity/guest-authority.ts";
import { guestUri } from "./identity/guest-name.ts";
import { type IssueIdentity, identityIssuer } from "./identity/issuer.ts";
import { identityRenewer, type RenewIdentity } from "./identity/renewer.ts";
import { type Deliveries, openDeliveries } from "./injection/deliveries.ts";
import { openGuestDelivery } from "./injection/guest-delivery.ts";
import { guestNetwork } from "./injection/guest-network.ts";
import { type Inject, injector } from "./injection/injector.ts";
import { type AcquireLease, leaseIssuer } from "./injection/lease.ts";
import { rateAlarm } from "./injection/lease-alarm.ts";
import { openRotation, type Rotation } from "./injection/rotation.ts";
import { measuredDeliveries, measuredProvider } from "./measured.ts";
import { secretsMetrics } from "./metrics.ts";
import { tenantOwnership } from "./ownership.ts";
import { openRootKey } from "./root-key/open-root-key.ts";
import type { RootKeyProvider } from "./root-key/provider.ts";
import { createRoutes } from "./routes.ts";
import { type KeyDestruction, openKeyDestruction } from "./sealed/key-destruction.ts";
import { type ObjectKeys, openObjectKeys } from "./sealed/object-keys.ts";
import { openRootRotation, type RootRotation } from "./sealed/root-rotation.ts";
import { openSealedSecrets, type SealedSecrets } from "./sealed/sealed-secrets.ts";
import { type Shredder, shredder } from "./sealed/shredder.ts";
import { openTenantKeys } from "./sealed/tenant-keys.ts";
import { openSecretDatabase } from "./store/database.ts";
import { type DeliveryStore, openDeliveryStore } from "./store/delivery-store.ts";
import { type GuestName, type IdentityStore, openIdentityStore } from "./store/identity-store.ts";
import { openRootRotationStore } from "./store/root-rotation-store.ts";
import { openSecretStore } from "./store/secret-store.ts";
import { openTenantKeyStore } from "./store/tenant-key-store.ts";

/** What the RPCs work with. */
export interface SecretsContext {
  readonly config: Config;
  readonly requests: RequestLog;
  readonly sealed: SealedSecrets;
  readonly identities: IdentityStore;
  readonly objectKeys: ObjectKeys;
  readonly issueIdentity: IssueIdentity;
  readonly renewIdentity: RenewIdentity;
  /** SHA-256 of the token with which this service calls that guest's agent. */
  readonly agentTokenDigest: (guest: GuestName) => Uint8Array;
  readonly acquireLease: AcquireLease;
  readonly deliveryStore: DeliveryStore;
  readonly deliveries: Deliveries;
  readonly inject: Inject;
  readonly rotation: Rotation;
  readonly shredder: Shredder;
  readonly keyDestruction: KeyDestruction;
  readonly rootRotation: RootRotation;
  /** Absent on a host without an authority for clients. */
  readonly clients: ClientCertificates | undefined;
  readonly events: SecretEvents;
}

/** Parts that a test may put in place of the real ones. */
export interface Overrides {
  readonly logger?: Logger;
  readonly audit?: AuditSink;
  readonly bus?: EventBus;
  readonly now?: () => number;
}

const providerIntervalMs = 10_000;

type Database = ReturnType<typeof openSecretDatabase>;

/** Composition root: makes everything once and starts serving. */
export async function startSecrets(
  config: Config,
  scope: Pick<ServiceScope, "onClose" | "useLogger">,
  overrides: Overrides = {},
): Promise<RunningServer> {
  const logger = overrides.logger ?? createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  const provider = measuredProvider(openRootKey(config.rootKey));
  await checkRootKey(provider, logger);
  const gauge = secretsMetrics.rootKeyReady.observe(async () => ((await provider.health()).state === "ready" ? 1 : 0));
  scope.onClose(() => gauge[Symbol.dispose]());
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const database = openSecretDatabase(join(config.stateDir, "secrets.sqlite"));
  scope.onClose(() => database.close());
  const bus = overrides.bus ?? connectEvents({ config, logger });
  scope.onClose(() => bus.close());
  const events = createSecretEvents(bus, logger);
  const sink =
    overrides.audit ??
    createAuditClient({
      peer: { service: "audit", unixPath: config.peers.audit },
      tls: { ...config.tls, trustDomain: config.trustDomain },
    });
  const spool = openAuditSpool(database, sink, logger);
  scope.onClose(() => spool.close());
  recordRuns(spool, scope, logger);
  const openCalls = openAuditCalls(database, spool, logger);
  scope.onClose(() => openCalls.close());
  const now = overrides.now ?? Date.now;
  const context = await createContext({ config, database, provider, events, sink, spool, logger, now });
  scope.onClose(() => context.rotation.close());
  scope.onClose(finishWithProvider(context, logger));
  const server = await startServer({
    config,
    logger,
    routes: createRoutes(context),
    access,
    audit: { ...createAuditPolicy(sink, spool), openCalls },
    ownership: tenantOwnership(context.identities),
  });
  scope.onClose(() => server.close());
  return server;
}

async function createContext(parts: {
  config: Config;
  database: Database;
  provider: RootKeyProvider;
  events: SecretEvents;
  sink: AuditSink;
  spool: AuditSink;
  logger: Logger;
  now: () => number;
}): Promise<SecretsContext> {
  const { config, database, provider, events, sink, spool, logger, now } = parts;
  const keyStore = openTenantKeyStore(database);
  const secrets = openSecretStore(database);
  const identities = openIdentityStore(database);
  const keys = openTenantKeys(keyStore, provider, now);
  const sealed = openSealedSecrets({ database, keys, keyStore, secrets, now });
  const authority = await openGuestAuthority({
    certificatePath: config.guestCaCertificatePath,
    keyPath: config.guestCaKeyPath,
    trustDomain: config.trustDomain,
    domain: config.domain ?? config.trustDomain,
    lifetimeMs: config.guestCertificateMinutes * 60_000,
    backdateMs: config.guestCertificateBackdateSeconds * 1000,
  });
  const tokens = openAgentTokens(join(config.stateDir, "agent-token.key"));
  const deliver = openGuestDelivery({
    trustDomain: config.trustDomain,
    certificatePath: config.tls.certificatePath,
    keyPath: config.tls.keyPath,
    guestCaPath: config.guestCaCertificatePath,
    port: config.guestAgentPort,
    tokens,
  });
  const leaseMs = config.leaseSeconds * 1000;
  const deliveryStore = openDeliveryStore(database);
  const deliveries = measuredDeliveries(openDeliveries({ sealed, store: deliveryStore, deliver, now }));
  const refuseOutside = guestNetwork(config.guestNetwork);
  const rotation = openRotation({
    ...{ identities, sealed, store: deliveryStore, deliveries, audit: sink, spool, events, logger, leaseMs },
    tryLimitMs: config.injectLimitMs,
    sweepIntervalMs: config.rotationSweepSeconds * 1000,
  });
  return {
    config,
    requests: openRequestLog(database),
    sealed,
    identities,
    objectKeys: openObjectKeys(keys, keyStore),
    issueIdentity: identityIssuer({ authority, identities, now }),
    renewIdentity: identityRenewer({ authority, identities, trustDomain: config.trustDomain, now }),
    agentTokenDigest: (guest) => tokens.digestFor(guestUri(config.trustDomain, guest)),
    acquireLease: leaseIssuer({
      identities,
      leaseMs,
      now,
      count: rateAlarm(config.leaseAlarmPerMinute, now, (leaseCount) => {
        events.leaseAlarm(leaseCount);
        const facts = { action: "InjectionLeaseAlarm", tenant: "", resource: "", generation: 0 } as const;
        // A spool that takes no record says so by failing the next call that has to be recorded.
        spool.append(ownOutcome({ ...facts, outcome: "failure", reason: "LEASE_RATE" })).catch(() => undefined);
      }),
    }),
    deliveryStore,
    deliveries,
    inject: injector({ identities, deliveries, refuseOutside, now }),
    rotation,
    shredder: shredder({ database, keyStore, secrets, identities, now }),
    keyDestruction: openKeyDestruction({ database, provider, spool, events, logger }),
    rootRotation: openRootRotation({
      ...{ database, provider, keys, keyStore, now },
      rotations: openRootRotationStore(database),
    }),
    clients: await openClients(config, database, logger, now),
    events,
  };
}

async function openClients(config: Config, database: Database, logger: Logger, now: () => number) {
  const { clients, clientsCaKeyPath: keyPath, trustDomain } = config;
  if (clients === undefined || keyPath === undefined) return undefined;
  return openClientCertificates({
    ...{ database, trustDomain, listPath: clients.listPath, now },
    store: openClientStore(database),
    authority: await openClientAuthority({ certificatePath: clients.caPath, keyPath, trustDomain }),
    roles: openRoles(config.rolesPath, logger),
  });
}

/** Does now, and again until it is done, what an earlier run left to do with the provider. Returns what ends that. */
function finishWithProvider({ keyDestruction, rootRotation, events }: SecretsContext, logger: Logger): () => void {
  const closing = new AbortController();
  const options = { signal: closing.signal, logger };
  every(
    providerIntervalMs,
    "destroy shredded keys with the provider",
    async () => void (await keyDestruction.run()),
    options,
  );
  every(
    providerIntervalMs,
    "go on with a rotation of the root key",
    async () => {
      const rotated = await rootRotation.resume();
      if (rotated !== undefined) events.rootKeyRotated(rotated);
    },
    options,
  );
  return () => closing.abort();
}

/** An unsafe key file is a fault to be mended before anything is sealed with it; an absent one may still come. */
async function checkRootKey(provider: RootKeyProvider, logger: Logger): Promise<void> {
  const health = await provider.health();
  if (health.state === "unsafe") throw new Error(`root key is refused: ${health.detail}`);
  if (health.state === "unavailable") {
    logger.warn({ provider: provider.kind, detail: health.detail }, "root key is not there, secrets stay sealed");
  } else {
    logger.info({ provider: provider.kind, rootKeyId: health.rootKeyId }, "root key is there");
  }
}
