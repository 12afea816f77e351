/** A tenant that stories put to sleep and wake: it is told a random text, which is in its memory and on its disk, and nowhere on the host in plain. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Tenant, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Step } from "@lobsterd/vm/lifecycle/journal.ts";
import { describeInstance } from "../../dev/instance.ts";
import type { ProcessName } from "../../dev/processes.ts";
import { openStack } from "../../dev/stack.ts";
import { filesBelow, Marker } from "../canary/search.ts";
import { clearFault, type Fault, faultReached, setFault } from "../faults/control.ts";
import { killAndReplace } from "../faults/kill.ts";
import { ask, clients, env, eventually, instance, spawn } from "../subject.ts";
import { markerStart } from "./marker.ts";

export const runDir = env.LOBSTERD_RUN_DIR;
export const sealedDir = join(env.LOBSTERD_STATE_DIR, "vm", "sealed");
export const spoolDir = join(runDir, "vm-spool");
const stack = openStack(describeInstance(instance));

const restLimitMs = 60_000;

export interface Sleeper {
  readonly name: string;
  readonly tenant: Tenant;
  readonly marker: string;
  suspend(): Promise<Tenant>;
  resume(): Promise<Tenant>;
  /** Fails unless the workload is the same process as ever, with the marker, and nobody but the story has asked it. */
  requireMemory(): Promise<void>;
  /** The state in which it has come to rest. A call that a death cut off is repeated by its client, so it may be a step further. */
  settled(): Promise<TenantState>;
  post<T>(path: string, parameters: unknown): Promise<T>;
  /** Files of a directory in which the marker is as it was written. */
  filesWithMarker(directory: string): readonly string[];
}

/** Spawns it with the image `probe`. */
export async function spawnSleeper(name: string): Promise<Sleeper> {
  const marker = `${markerStart}${randomBytes(16).toString("hex")}`;
  const tenant = await spawn(name, "probe");

  async function post<T>(path: string, parameters: unknown): Promise<T> {
    const { status, body } = await ask(name, { method: "POST", path, body: JSON.stringify(parameters) });
    assert.equal(status, 200, body);
    return JSON.parse(body);
  }
  const remembered = (text?: string) => post<{ text: string; count: number; pid: number }>("/remember", { text });
  const told = await remembered(marker);
  let asked = told.count;
  await post("/run", { command: ["sh", "-c", `echo ${marker} >/root/marker && sync`], user: "root" });

  return {
    ...{ name, tenant, marker, post },
    filesWithMarker: (directory) => {
      const search = new Marker(marker);
      return filesBelow(directory).filter((path) => search.isInFile(path));
    },
    suspend: async () => required((await clients.tenants.suspendTenant({ requestId: randomUUID(), name })).tenant),
    resume: async () => required((await clients.tenants.resumeTenant({ requestId: randomUUID(), name })).tenant),
    requireMemory: async () => {
      asked += 1;
      assert.deepEqual(await remembered(), { text: marker, count: asked, pid: told.pid });
    },
    settled: () =>
      eventually("rest", restLimitMs, async () => {
        const { state } = required((await clients.tenants.getTenant({ name })).tenant);
        return state === TenantState.RUNNING || state === TenantState.SUSPENDED ? state : undefined;
      }),
  };
}

function required(tenant: Tenant | undefined): Tenant {
  assert.ok(tenant);
  return tenant;
}

/** Kills a process where `work`, a suspend or a resume, has come to a step. What it was doing is done by its successor. */
export async function killAt(
  victim: ProcessName,
  step: Step,
  moment: Fault["moment"],
  work: () => Promise<unknown>,
): Promise<void> {
  setFault(runDir, { step, moment, action: "hold" });
  const doing = work().catch(() => undefined);
  await faultReached(runDir);
  await killAndReplace(stack, victim, () => clearFault(runDir));
  await doing;
}

/** Processes under the uid of the tenant's slot, its VMM and nothing else, as "name state". */
export function processesOfSlot(slot: number): readonly string[] {
  const uid = describeInstance(instance).firstJailUid + slot;
  return readdirSync("/proc").flatMap((pid) => {
    let status: string;
    try {
      status = readFileSync(`/proc/${pid}/status`, "utf8");
    } catch {
      return []; // no process, or one that ended
    }
    const [, name = "", state = ""] = /^Name:\t(.*)\n(?:.*\n)?State:\t(\S)/.exec(status) ?? [];
    // One that is dead and not yet reaped has neither memory nor threads.
    return status.includes(`\nUid:\t${uid}\t`) && state !== "Z" ? [`${name} ${state}`] : [];
  });
}
