/**
 * The demonstration: brings the stack up, spawns a tenant in a real guest, uses it the way people do, proves that a secret put
 * over gRPC arrived in the guest, shows the trace and the audit records, and evicts the tenant.
 */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { connectStack, type StackClients } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import { readStackEnv, type StackEnv } from "../client/stack-env.ts";
import { bringUp } from "../dev/stack.ts";
import { showAuditRecords, showTrace } from "./show.ts";

const usage = `usage: main.ts [--tenant NAME] [--keep]

  --tenant NAME  name of the tenant (default: demo)
  --keep         leave the tenant running at the end
`;

const { values } = parseArgs({
  options: {
    tenant: { type: "string", default: "demo" },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Shows how long a call has been under way, once a second: a boot under emulation takes seconds. */
async function withProgress<T>(what: string, call: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
  const ticker = setInterval(() => say(`  … ${what}: ${seconds()} s`), 2000);
  try {
    const result = await call();
    say(`  ✓ ${what} (${seconds()} s)`);
    return result;
  } finally {
    clearInterval(ticker);
  }
}

/** Puts a fresh secret for the tenant and returns its SHA-256. The value itself is forgotten here. */
async function putSecret({ secrets }: StackClients, tenant: string): Promise<string> {
  const value = Buffer.from(randomBytes(32).toString("hex"));
  const name = "api-key";
  await secrets.putSecret({ requestId: randomUUID(), tenant, name, value: { value } });
  await secrets.bindSecret({ requestId: randomUUID(), tenant, name, target: { target: { case: "file", value: {} } } });
  return createHash("sha256").update(value).digest("hex");
}

async function useTenant(env: StackEnv, { secrets }: StackClients, tenant: string, digest: string): Promise<void> {
  const host = hostOf(env, tenant);
  const page = await askFront(env, host);
  if (page.status !== 200) throw new Error(`https://${host}/ answered ${page.status}`);
  say(`  ✓ https://${host}/ answered 200 with a certificate that the stack's authority signed`);
  const { token } = await secrets.issueGatewayToken({ requestId: randomUUID(), tenant });
  const bearer = Buffer.from(token?.value ?? []).toString("utf8");
  const whoami = await askFront(env, host, { path: "/whoami", headers: { authorization: `Bearer ${bearer}` } });
  const answer: { tenant?: string; generation?: number; secrets?: Record<string, string> } = JSON.parse(whoami.body);
  if (answer.tenant !== tenant || answer.secrets?.["api-key"] !== digest) {
    throw new Error(`/whoami answered ${whoami.status} ${whoami.body}, which is not the secret that was put`);
  }
  say(
    `  ✓ /whoami says tenant ${answer.tenant}, generation ${answer.generation}; SHA-256 of the secret is equal on both sides`,
  );
}

async function demonstrate(env: StackEnv, clients: StackClients, tenant: string): Promise<string> {
  const { inSpan, currentTraceId } = await import("@lobsterd/chassis/tracing.ts");
  return await inSpan(`demo ${tenant}`, {}, async () => {
    const digest = await putSecret(clients, tenant);
    say("  ✓ secret put and bound over gRPC");
    await withProgress(`tenant ${tenant} spawned`, () =>
      clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant, labels: { purpose: "demo" } }),
    );
    await useTenant(env, clients, tenant, digest);
    return currentTraceId();
  });
}

async function evictIfThere({ tenants }: StackClients, tenant: string): Promise<void> {
  const { reasonOf } = await import("@lobsterd/chassis/errors.ts");
  await tenants.evictTenant({ requestId: randomUUID(), name: tenant }).catch((error: unknown) => {
    if (reasonOf(error) !== "TENANT_NOT_FOUND") throw error;
  });
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  say("bringing the stack up");
  await bringUp({ instance: "dev", progress: (line) => say(`  ${line}`) });
  const env = readStackEnv();
  // Telemetry reads these when it is loaded, so they are set before anything that traces is.
  process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = env.LOBSTERD_TRACES;
  process.env["OTEL_SERVICE_NAME"] = "caller";
  await import("@lobsterd/chassis/telemetry.ts");
  const clients = connectStack(env);
  const { host } = await clients.host.getHost({});
  say(`host ${host?.hostId}: ${host?.vmm} on ${host?.accelerator}, ${host?.cpuCount} cores`);
  say(`  why: ${host?.vmmReason}`);
  if (host?.productionBoundary !== true) say("  this VMM is for development: it is not a boundary for hostile tenants");
  await evictIfThere(clients, values.tenant);

  const start = new Date();
  say(`\nspawning tenant ${values.tenant}`);
  const traceId = await demonstrate(env, clients, values.tenant);
  say("\ntrace of the spawn");
  await showTrace(env, traceId);
  if (values.keep) {
    say(
      `\ntenant ${values.tenant} keeps running: https://${hostOf(env, values.tenant)}:${env.LOBSTERD_HTTPS.split(":")[1]}/`,
    );
  } else {
    await withProgress(`tenant ${values.tenant} evicted`, () => evictIfThere(clients, values.tenant));
  }
  say("\naudit records");
  await showAuditRecords(clients, values.tenant, start);
  say("\nthe stack keeps running: source .run/env to talk to it, make down to remove it");
}

await main();
// Connections to the services are kept for the next call; there is none.
process.exit(0);
