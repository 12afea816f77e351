import { z } from "zod";
import { vmmFail } from "../port.ts";
import type * as bodies from "./api-bodies.ts";
import type { HttpAnswer } from "./http-answer.ts";
import type { HttpConnection, HttpRequest } from "./http-connection.ts";
import { parseJsonAnswer } from "./json-answer.ts";
import { escapeUntrusted } from "./untrusted-text.ts";

/** What may be asked before the guest runs, with its body. */
export interface BootBodies {
  readonly putLogger: bodies.LoggerBody;
  readonly putMetrics: bodies.MetricsBody;
  readonly putSerial: bodies.SerialBody;
  readonly putMachineConfiguration: bodies.MachineConfigurationBody;
  readonly putBootSource: bodies.BootSourceBody;
  readonly putRootDrive: bodies.DriveBody<"rootfs">;
  readonly putOverlayDrive: bodies.DriveBody<"overlay">;
  readonly putIdentityDrive: bodies.DriveBody<"cfg">;
  readonly putNetworkInterface: bodies.NetworkInterfaceBody;
  readonly putEntropy: bodies.EntropyBody;
}

export type BootCallName = keyof BootBodies;

/** One of those calls as a value, so that their order can be computed and tested. */
export type BootCall = {
  readonly [C in BootCallName]: { readonly call: C; readonly body: BootBodies[C] };
}[BootCallName];

export type InstanceInfo = z.infer<typeof instanceInfoSchema>;

/**
 * Firecracker's API as far as it is used: one function for each call that may be made, and none for vsock, balloon, pmem, MMDS, memory
 * hotplug, CPU templates or differential snapshots. A call is answered within its deadline or fails.
 * Errors: VMM_FAILED (the VMM refused; its own words are in the message, escaped), INVALID_ANSWER, TIMED_OUT, UNAVAILABLE.
 */
export interface FirecrackerApi {
  apply(call: BootCall): Promise<void>;
  startInstance(): Promise<void>;
  /** The version it was built as, such as "1.16.1". */
  getVersion(): Promise<string>;
  getInstance(): Promise<InstanceInfo>;
  /** Its own account of the machine. It leaves out logger, metrics and serial device, whatever they were set to. */
  getConfiguration(): Promise<unknown>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  createSnapshot(body: bodies.SnapshotCreateBody): Promise<void>;
  loadSnapshot(body: bodies.SnapshotLoadBody): Promise<void>;
  /** Makes the VMM open the identity drive's file again and tell the guest that it changed. */
  reopenIdentityDrive(pathOnHost: string): Promise<void>;
}

export interface ApiDeadlines {
  readonly callMs: number;
  /** Guest memory is written or mapped within this: 4 GiB at 100 MB/s, which is slow for the tmpfs it is on. */
  readonly snapshotMs: number;
}

export const defaultDeadlines: ApiDeadlines = { callMs: 5_000, snapshotMs: 45_000 };

const bootPaths: Readonly<Record<BootCallName, string>> = {
  putLogger: "/logger",
  putMetrics: "/metrics",
  putSerial: "/serial",
  putMachineConfiguration: "/machine-config",
  putBootSource: "/boot-source",
  putRootDrive: "/drives/rootfs",
  putOverlayDrive: "/drives/overlay",
  putIdentityDrive: "/drives/cfg",
  putNetworkInterface: "/network-interfaces/eth0",
  putEntropy: "/entropy",
};

const versionSchema = z.strictObject({ firecracker_version: z.string().max(64) });
const instanceInfoSchema = z.strictObject({
  app_name: z.string().max(64),
  id: z.string().max(64),
  state: z.enum(["Not started", "Running", "Paused"]),
  vmm_version: z.string().max(64),
});
const configurationSchema = z.record(z.string(), z.unknown());
const faultSchema = z.object({ fault_message: z.string() });

export function createFirecrackerApi(
  connection: HttpConnection,
  deadlines: ApiDeadlines = defaultDeadlines,
): FirecrackerApi {
  const put = (path: string, body: unknown, deadlineMs = deadlines.callMs) =>
    expectNothing(connection, { method: "PUT", path, body, deadlineMs });
  const patch = (path: string, body: unknown) =>
    expectNothing(connection, { method: "PATCH", path, body, deadlineMs: deadlines.callMs });
  const get = <S extends z.ZodType>(path: string, schema: S) =>
    expectJson(connection, { method: "GET", path, deadlineMs: deadlines.callMs }, schema);
  return {
    apply: ({ call, body }) => put(bootPaths[call], body),
    startInstance: () => put("/actions", { action_type: "InstanceStart" }),
    getVersion: async () => (await get("/version", versionSchema)).firecracker_version,
    getInstance: () => get("/", instanceInfoSchema),
    getConfiguration: () => get("/vm/config", configurationSchema),
    pause: () => patch("/vm", { state: "Paused" }),
    resume: () => patch("/vm", { state: "Resumed" }),
    createSnapshot: (body) => put("/snapshot/create", body, deadlines.snapshotMs),
    loadSnapshot: (body) => put("/snapshot/load", body, deadlines.snapshotMs),
    reopenIdentityDrive: (pathOnHost) => patch("/drives/cfg", { drive_id: "cfg", path_on_host: pathOnHost }),
  };
}

async function expectNothing(connection: HttpConnection, request: HttpRequest): Promise<void> {
  await exchange(connection, request, 204);
}

async function expectJson<S extends z.ZodType>(
  connection: HttpConnection,
  request: HttpRequest,
  schema: S,
): Promise<z.infer<S>> {
  const { body } = await exchange(connection, request, 200);
  const parsed = schema.safeParse(parseJsonAnswer(body));
  if (!parsed.success) throw vmmFail("INVALID_ANSWER", `the VMM's answer to GET ${request.path} is not as published`);
  return parsed.data;
}

async function exchange(connection: HttpConnection, request: HttpRequest, expected: 200 | 204): Promise<HttpAnswer> {
  const answer = await connection.send(request);
  if (answer.status === expected) return answer;
  const name = `${request.method} ${request.path}`;
  if (answer.status < 400) throw vmmFail("INVALID_ANSWER", `the VMM answered ${name} with status ${answer.status}`);
  throw vmmFail("VMM_FAILED", `the VMM refused ${name} with status ${answer.status}: ${faultOf(answer)}`);
}

function faultOf({ body }: HttpAnswer): string {
  try {
    const fault = faultSchema.safeParse(parseJsonAnswer(body));
    return fault.success ? escapeUntrusted(fault.data.fault_message, 256) : "no reason";
  } catch {
    return "no reason"; // a refusal is a refusal, however it is put
  }
}
