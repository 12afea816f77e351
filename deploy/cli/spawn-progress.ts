import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import type { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Context } from "./command.ts";
import { printable } from "./printable.ts";

const pollMs = 1000;
/** Clocks of two machines differ. */
const clockSkewMs = 5000;

/** What is known of a spawn that is under way. */
export interface SpawnFacts {
  readonly state: TenantState | undefined;
  /** Boots that wait for a core, on the whole host. */
  readonly queuedBoots: number;
  /** Actions that the audit log has of this tenant since the spawn began. */
  readonly actions: ReadonlySet<string>;
}

/** What a spawn waits for, from what the services recorded about it so far. */
export function waitsFor({ state, queuedBoots, actions }: SpawnFacts): string {
  if (actions.has("InjectSecrets")) return "the workload to be healthy and its route to work";
  if (actions.has("IssueGuestIdentity")) {
    return queuedBoots > 0 ? `a core: ${queuedBoots} boots are queued` : "the guest to boot";
  }
  return state === undefined ? "admission" : "its network and its identity";
}

/**
 * Makes `call` and shows on a terminal what it waits for. When the call may not have ended with its answer, says how to wait for it again.
 * Passes on what `call` resolves with or throws.
 */
export async function showSpawnProgress<T>(
  context: Context,
  { name, requestId }: { readonly name: string; readonly requestId: string },
  call: () => Promise<T>,
): Promise<T> {
  const { io, wantsJson, signal } = context;
  const end = new AbortController();
  const shown =
    io.errors.isTerminal && !wantsJson ? showUntil(AbortSignal.any([end.signal, signal]), context, name) : undefined;
  const endShown = async () => {
    end.abort();
    await shown;
  };
  try {
    return await call();
  } catch (error) {
    await endShown();
    if ((signal.aborted || mayGoOn(error)) && !wantsJson)
      await io.errors.write(`the spawn may go on; to wait for it: --request-id ${requestId}\n`);
    throw error;
  } finally {
    await endShown();
  }
}

function mayGoOn(error: unknown): boolean {
  return error instanceof ConnectError && [Code.Unavailable, Code.DeadlineExceeded].includes(error.code);
}

async function showUntil(end: AbortSignal, context: Context, name: string): Promise<void> {
  const { clock, io } = context;
  const startMs = clock.now();
  while (!end.aborted) {
    const facts = await readFacts(context, name, { startMs, end });
    if (end.aborted) break;
    const seconds = Math.round((clock.now() - startMs) / 1000);
    await io.errors.write(`\r\x1b[Kspawning ${printable(name)}, ${seconds} s: waits for ${waitsFor(facts)}`);
    await clock.sleep(pollMs, end);
  }
  await io.errors.write("\r\x1b[K");
}

/** Progress is a hint: what cannot be asked for is unknown, and only the spawn's own answer counts. */
async function readFacts(
  { clients }: Context,
  name: string,
  { startMs, end }: { readonly startMs: number; readonly end: AbortSignal },
): Promise<SpawnFacts> {
  const options = { signal: end, timeoutMs: pollMs * 2 };
  const startTime = timestampFromMs(startMs - clockSkewMs);
  const [tenant, host, audit] = await Promise.allSettled([
    clients.tenants.getTenant({ name }, options),
    clients.host.getHost({}, options),
    clients.audit.queryRecords({ tenant: name, startTime, page: { pageSize: 200 } }, options),
  ]);
  return {
    state: tenant.status === "fulfilled" ? tenant.value.tenant?.state : undefined,
    queuedBoots: host.status === "fulfilled" ? (host.value.host?.queuedBoots ?? 0) : 0,
    actions: new Set(audit.status === "fulfilled" ? audit.value.records.map(({ draft }) => draft?.action ?? "") : []),
  };
}
