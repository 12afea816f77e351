import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { pinnedVersion } from "../version.ts";
import { reportedConfiguration } from "./stub-configuration.ts";

export type Json = Record<string, unknown>;

export interface StubRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

export interface StubAnswer {
  readonly status: number;
  readonly body?: unknown;
}

export type StubState = "Not started" | "Running" | "Paused";

export interface StubMachine {
  readonly state: StubState;
  /** Stands for the guest's memory: 36 characters at its beginning, new with each boot. */
  readonly mark: string;
  answer(request: StubRequest): StubAnswer;
  /** Writes to what /logger, /metrics or /serial named, as a VMM does: what a full pipe does not take is lost. */
  write(output: Output, text: string): void;
  close(): void;
}

const outputs = { "/logger": "log_path", "/metrics": "metrics_path", "/serial": "serial_out_path" } as const;
export type Output = keyof typeof outputs;

/** Fields by path: those that must be there, and those that may. Firecracker refuses every other one. */
const fields: Readonly<Record<string, readonly [readonly string[], readonly string[]]>> = {
  "/logger": [[], ["log_path", "level", "show_level", "show_log_origin", "module"]],
  "/metrics": [["metrics_path"], []],
  "/serial": [[], ["serial_out_path", "rate_limiter"]],
  "/machine-config": [
    ["vcpu_count", "mem_size_mib"],
    ["smt", "cpu_template", "track_dirty_pages", "huge_pages"],
  ],
  "/boot-source": [["kernel_image_path"], ["initrd_path", "boot_args"]],
  "/drives": [
    ["drive_id", "is_root_device"],
    ["partuuid", "cache_type", "is_read_only", "path_on_host", "rate_limiter", "io_engine", "socket"],
  ],
  "/network-interfaces": [
    ["iface_id", "host_dev_name"],
    ["guest_mac", "mtu", "rx_rate_limiter", "tx_rate_limiter"],
  ],
  "/entropy": [[], ["rate_limiter"]],
  "/vsock": [["guest_cid", "uds_path"], ["vsock_id"]],
  "/balloon": [
    ["amount_mib", "deflate_on_oom"],
    ["stats_polling_interval_s", "free_page_hinting", "free_page_reporting"],
  ],
  "/pmem": [
    ["id", "path_on_host"],
    ["root_device", "read_only", "rate_limiter"],
  ],
  "/mmds/config": [["network_interfaces"], ["version", "ipv4_address", "imds_compat"]],
  "/hotplug/memory": [[], ["total_size_mib", "slot_size_mib", "block_size_mib"]],
};
const files = ["kernel_image_path", "initrd_path", "path_on_host"];

export interface StubMachineOptions {
  /** What GET / says. */
  readonly id: string;
  /** Stands for the jail's root. */
  readonly root: string;
  readonly version?: string;
  /** It runs what it loads, whatever it is told. */
  readonly resumesAtLoad?: boolean;
}

class Refusal extends Error {}

/**
 * Firecracker's state machine without a machine: it keeps what it is told and answers as the published API says. It
 * opens in its root what Firecracker would open.
 */
export function createStubMachine(options: StubMachineOptions): StubMachine {
  const { id, root, version = pinnedVersion, resumesAtLoad = false } = options;
  let state: StubState = "Not started";
  let resources = new Map<string, Json>();
  let mark = "";
  const pipes = new Map<string, number>();
  const inRoot = (path: unknown) => `${root}/${String(path)}`;

  const openOutput = (output: Output, body: Json) => {
    const path = body[outputs[output]];
    if (path === undefined) return;
    if (pipes.has(output)) throw new Refusal(`${output} is initialised already`);
    // A FIFO without a reader cannot be opened so: whoever reads it has to be there first.
    pipes.set(output, openSync(inRoot(path), constants.O_WRONLY | constants.O_NONBLOCK));
  };
  const put = (path: string, body: Json) => {
    if (state !== "Not started")
      throw new Refusal("The requested operation is not supported after starting the microVM.");
    requireFields(path, body);
    for (const file of files) {
      if (body[file] !== undefined && !existsSync(inRoot(body[file])))
        throw new Refusal(`no file ${String(body[file])}`);
    }
    if (path in outputs) openOutput(path as Output, body);
    else resources.set(path, body);
  };
  const memoryBytes = () => Number(resources.get("/machine-config")?.["mem_size_mib"]) * 2 ** 20;
  const snapshot = (path: string, body: Json) => {
    if (path === "/snapshot/create") {
      if (state !== "Paused") throw new Refusal("The microVM is not paused.");
      writeFileSync(inRoot(body["snapshot_path"]), JSON.stringify([...resources]));
      // As Firecracker: a file of the right length is not truncated.
      const memory = openSync(inRoot(body["mem_file_path"]), constants.O_RDWR | constants.O_CREAT, 0o600);
      if (fstatSync(memory).size !== memoryBytes()) ftruncateSync(memory, memoryBytes());
      writeSync(memory, mark, 0);
      closeSync(memory);
      return;
    }
    if (state !== "Not started" || resources.size > 0)
      throw new Refusal("Loading a microVM snapshot not allowed after configuring boot-specific resources.");
    resources = new Map(JSON.parse(readFileSync(inRoot(body["snapshot_path"]), "utf8")));
    resources.delete("/boot-source");
    const memory = openSync(inRoot((body["mem_backend"] as Json)["backend_path"]), "r");
    if (fstatSync(memory).size !== memoryBytes()) throw new Refusal("The memory file has another length.");
    const found = Buffer.alloc(36);
    readSync(memory, found, 0, found.length, 0);
    closeSync(memory);
    mark = found.toString("latin1");
    state = body["resume_vm"] === true || resumesAtLoad ? "Running" : "Paused";
  };
  const act = ({ method, path, body }: StubRequest & { body: Json }) => {
    if (method === "PUT" && path.startsWith("/snapshot/")) return snapshot(path, body);
    if (method === "PUT" && path === "/actions") {
      if (body["action_type"] !== "InstanceStart") throw new Refusal("no such action");
      if (state !== "Not started" || !resources.has("/boot-source"))
        throw new Refusal("The microVM cannot be started.");
      state = "Running";
      mark = randomUUID();
      return;
    }
    if (method === "PUT") return put(path, body);
    if (state === "Not started")
      throw new Refusal("The requested operation is not supported before starting the microVM.");
    if (path === "/vm") state = body["state"] === "Paused" ? "Paused" : "Running";
    else if (resources.has(path)) resources.set(path, { ...resources.get(path), ...body });
    else throw new Refusal(`Invalid request method and/or path: ${method} ${path}.`);
  };
  const read = (path: string): StubAnswer => {
    switch (path) {
      case "/":
        return { status: 200, body: { app_name: "Firecracker", id, state, vmm_version: version } };
      case "/version":
        return { status: 200, body: { firecracker_version: version } };
      case "/vm/config":
        return { status: 200, body: reportedConfiguration(resources) };
      default:
        throw new Refusal(`Invalid request method and/or path: GET ${path}.`);
    }
  };

  return {
    get state() {
      return state;
    },
    get mark() {
      return mark;
    },
    answer(request) {
      try {
        if (request.method === "GET") return read(request.path);
        act({ ...request, body: requireObject(request.body) });
        return { status: 204 };
      } catch (error) {
        return { status: 400, body: { fault_message: (error as Error).message } };
      }
    },
    write(output, text) {
      const pipe = pipes.get(output);
      if (pipe === undefined) return;
      try {
        writeSync(pipe, text);
      } catch (error) {
        if (!["EAGAIN", "EPIPE"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      }
    },
    close() {
      for (const pipe of pipes.values()) closeSync(pipe);
      pipes.clear();
    },
  };
}

function requireObject(body: unknown): Json {
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw new Refusal("The body is not an object.");
  return body as Json;
}

function requireFields(path: string, body: Json): void {
  const kind = fields[path] ?? fields[path.replace(/\/[^/]+$/, "")];
  if (kind === undefined) throw new Refusal(`Invalid request method and/or path: PUT ${path}.`);
  const [required, optional] = kind;
  for (const key of required) if (body[key] === undefined) throw new Refusal(`missing field \`${key}\``);
  for (const key of Object.keys(body)) {
    if (!required.includes(key) && !optional.includes(key)) throw new Refusal(`unknown field \`${key}\``);
  }
}
