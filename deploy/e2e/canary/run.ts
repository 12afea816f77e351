/** One life of a tenant's secrets, with everything that could keep a copy of them searched at every turn. */
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { type SecretTarget, SecretTargetSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Stack } from "../../dev/stack.ts";
import { clearFault, faultReached, setFault } from "../faults/control.ts";
import { killAndReplace } from "../faults/kill.ts";
import { ask, clients, env, eventually, evict } from "../subject.ts";
import { type Capture, startCapture } from "./capture.ts";
import { filesBelow, Marker, processTexts } from "./search.ts";

const tenant = "canary-a";
const label = { key: "canary", value: "yes" };

interface Canary {
  readonly name: string;
  /** Empty for a shared secret. */
  readonly owner: string;
  readonly place: { readonly kind: "files" | "environment" | "fields"; readonly key: string };
  /** An injection has 63 places; what is beyond is put and never bound. */
  readonly goesToGuest: boolean;
  value: string;
}

export interface CanaryRun {
  /** Where the marker was found: paths, never values. */
  readonly hits: readonly string[];
  /** What was searched, by kind, so that nobody takes an empty search for a clean one. */
  readonly searched: Readonly<Record<string, number>>;
  readonly rotations: readonly Rotation[];
}

/** From the answer of PutSecret until the guest's workload had the new version; for all places but files it is started anew for it. */
interface Rotation {
  readonly place: Canary["place"]["kind"];
  readonly ms: number;
}

/** How long rotations took, for each place: least, median and most in milliseconds. */
export function summarize(rotations: readonly Rotation[]): string {
  const lines = Object.entries(Object.groupBy(rotations, ({ place }) => place)).map(([place, of = []]) => {
    const ms = of.map((rotation) => Math.round(rotation.ms)).sort((a, b) => a - b);
    return `${place} ${ms[0]}, ${ms[Math.floor(ms.length / 2)]}, ${ms.at(-1)}`;
  });
  return `least, median and most ms until the workload had a new version: ${lines.join("; ")}`;
}

/** Runs `count` canaries through put, bind, inject, rotate, delete and evict. With `kills`, `secrets` is killed in the middle of each. */
export async function runCanaries(stack: Stack, count: number, options: { kills: boolean }): Promise<CanaryRun> {
  const markerText = `lobsterd-test-canary-${randomBytes(12).toString("hex")}-`;
  const search = openSearch(new Marker(markerText));
  const newValue = () => `${markerText}${randomBytes(18).toString("base64url")}`;
  const canaries = Array.from({ length: count }, (_, index) => newCanary(index, newValue()));
  assert.equal(search.proves(newValue()), true, "the search finds what is there to find");
  const captures = await startCaptures();
  const kill = async () => (options.kills ? await killAndReplace(stack, "secrets") : undefined);
  const rotations: Rotation[] = [];
  try {
    for (const canary of canaries) await put(canary);
    await refusals(newValue());
    await kill();
    await spawnWith(stack, options.kills);
    await untilGuestHas(canaries);
    search.look();
    for (const canary of canaries.filter((_, index) => index % 2 === 0)) {
      canary.value = newValue();
      await put(canary, { isBound: true });
      const since = performance.now();
      if (options.kills && rotations.length === 0) await kill();
      await untilGuestHas([canary]);
      rotations.push({ place: canary.place.kind, ms: performance.now() - since });
    }
    await untilGuestHas(canaries);
    search.look();
    await search.lookIntoTraces();
    for (const canary of canaries.splice(0, Math.ceil(count / 4))) await remove(canary);
    await untilGuestHas(canaries);
    await kill();
  } finally {
    clearFault(stack.instance.runDir);
    await evict(tenant);
    for (const { owner, name } of canaries) if (owner === "") await remove({ owner, name });
    for (const capture of captures) search.lookInto(`capture ${capture.path}`, await capture.stop());
  }
  search.look();
  return { ...search.report(), rotations: options.kills ? rotations.slice(1) : rotations };
}

/** A quarter are shared; of each kind of place there is a third. */
function newCanary(index: number, value: string): Canary {
  const name = `c${index}`;
  const owner = index % 4 === 3 ? "" : tenant;
  const facts = { name, owner, value, goesToGuest: index < 63 };
  if (index % 3 === 0) return { ...facts, place: { kind: "files", key: name } };
  if (index % 3 === 1) return { ...facts, place: { kind: "environment", key: `CANARY_${index}` } };
  return { ...facts, place: { kind: "fields", key: `/canaries/${name}` } };
}

async function put(canary: Canary, { isBound } = { isBound: !canary.goesToGuest }): Promise<void> {
  const { owner, name, place, value } = canary;
  const { secrets } = clients;
  await secrets.putSecret({ requestId: randomUUID(), tenant: owner, name, value: { value: Buffer.from(value) } });
  if (isBound) return;
  const binding = { requestId: randomUUID(), tenant: owner, name, target: targetOf(place) };
  await secrets.bindSecret(owner === "" ? { ...binding, label } : binding);
}

function targetOf({ kind, key }: Canary["place"]): SecretTarget {
  switch (kind) {
    case "files":
      return create(SecretTargetSchema, { target: { case: "file", value: {} } });
    case "environment":
      return create(SecretTargetSchema, { target: { case: "environment", value: { variable: key } } });
    case "fields":
      return create(SecretTargetSchema, { target: { case: "configuration", value: { pointer: key } } });
  }
}

async function remove({ owner, name }: Pick<Canary, "owner" | "name">): Promise<void> {
  await clients.secrets
    .deleteSecret({ requestId: randomUUID(), tenant: owner, name })
    .catch((error: unknown) => assert.equal(reasonOf(error), "SECRET_NOT_FOUND"));
}

/** Calls that fail with a value in them. */
async function refusals(value: string): Promise<void> {
  const refused = async (change: { name?: string; bytes?: Buffer; requestId?: string }) => {
    const { name = "refused", bytes = Buffer.from(value), requestId = randomUUID() } = change;
    const call = clients.secrets.putSecret({ requestId, tenant, name, value: { value: bytes } });
    return await call.then(
      () => "OK",
      (error: unknown) => reasonOf(error),
    );
  };
  assert.equal(await refused({ name: "gateway-token" }), "RESERVED_NAME");
  assert.equal(await refused({ name: "Not A Name" }), "INVALID_FIELD");
  assert.equal(await refused({ bytes: Buffer.from(value.repeat(2000)) }), "INVALID_FIELD");
  const requestId = randomUUID();
  assert.equal(await refused({ requestId }), "OK");
  assert.equal(await refused({ requestId, bytes: Buffer.from(`${value}x`) }), "REQUEST_ID_REUSED");
  await remove({ owner: tenant, name: "refused" });
}

/** Spawns the tenant; with `kills`, `secrets` dies as the injection begins, and the spawn that fails of it is repeated. */
async function spawnWith(stack: Stack, kills: boolean): Promise<void> {
  const labels = { [label.key]: label.value };
  const spawn = () => clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant, image: "base", labels });
  if (kills) {
    const { runDir } = stack.instance;
    setFault(runDir, { step: "inject-secrets", moment: "started", action: "hold" });
    const failing = spawn().catch(() => undefined);
    await faultReached(runDir);
    await killAndReplace(stack, "secrets", () => clearFault(runDir));
    if ((await failing) !== undefined) return;
    // The one that failed is unwound before its name is free.
    await eventually("the end of the spawn that failed", 60_000, async () => {
      const { tenants } = await clients.tenants.listTenants({});
      return tenants.some(({ name }) => name === tenant) ? undefined : true;
    });
  }
  await spawn();
}

/** The workload has exactly the newest value of each: digests, as it says itself. */
async function untilGuestHas(canaries: readonly Canary[]): Promise<void> {
  const { token } = await clients.secrets.issueGatewayToken({ requestId: randomUUID(), tenant });
  const authorization = `Bearer ${Buffer.from(token?.value ?? []).toString("utf8")}`;
  await eventually("the guest to have its canaries", 60_000, async () => {
    const answer = await ask(tenant, { path: "/places", headers: { authorization } });
    if (answer.status !== 200) return undefined;
    const found = JSON.parse(answer.body) as Record<Canary["place"]["kind"], Record<string, string>>;
    const has = ({ place, value, goesToGuest }: Canary) =>
      !goesToGuest || found[place.kind][place.key] === createHash("sha256").update(value).digest("hex");
    return canaries.every(has) ? true : undefined;
  });
}

/** Captures in the instance's namespaces and in every slot's. */
async function startCaptures(): Promise<Capture[]> {
  const slots = join(env.LOBSTERD_RUN_DIR, "netns");
  const paths = [env.LOBSTERD_NETNS, env.LOBSTERD_OUTSIDE_NETNS].map((name) => `/run/netns/${name}`);
  const slotPaths = readdirSync(slots).map((name) => join(slots, name));
  return await Promise.all([...paths, ...slotPaths].filter((path) => existsSync(path)).map(startCapture));
}

function openSearch(marker: Marker) {
  const hits = new Set<string>();
  const searched: Record<string, number> = { files: 0, "process texts": 0, "capture bytes": 0, "trace bytes": 0 };
  const note = (kind: string, amount: number) => {
    searched[kind] = (searched[kind] ?? 0) + amount;
  };
  return {
    proves: (value: string) =>
      ["utf8", "hex", "base64"].every((form) =>
        marker.isIn(Buffer.from(Buffer.from(value).toString(form as BufferEncoding))),
      ),
    /** Files (logs, databases, streams of the broker, disks) and processes as they are now. */
    look(): void {
      for (const path of [env.LOBSTERD_RUN_DIR, env.LOBSTERD_STATE_DIR].flatMap(filesBelow)) {
        if (marker.isInFile(path)) hits.add(path);
        note("files", 1);
      }
      for (const [path, text] of processTexts()) {
        if (marker.isIn(text)) hits.add(path);
        note("process texts", 1);
      }
    },
    async lookIntoTraces(): Promise<void> {
      const { records } = await clients.audit.queryRecords({ tenant, page: { pageSize: 500 } });
      for (const traceId of new Set(records.map(({ draft }) => draft?.traceId ?? ""))) {
        if (traceId === "") continue;
        const answer = await fetch(`${env.LOBSTERD_TRACES}/traces/${traceId}`, { signal: AbortSignal.timeout(30_000) });
        const text = Buffer.from(await answer.arrayBuffer());
        if (marker.isIn(text)) hits.add(`trace ${traceId}`);
        note("trace bytes", text.length);
      }
    },
    lookInto(what: string, bytes: Buffer): void {
      if (marker.isIn(bytes)) hits.add(what);
      note("capture bytes", bytes.length);
    },
    report: () => ({ hits: [...hits], searched }),
  };
}
