import { connect } from "node:net";
import { currentTraceparent } from "@lobsterd/chassis/tracing.ts";
import {
  type Arguments,
  answerSchema,
  maxMessageBytes,
  type Result,
  type Verb,
  verbArguments,
  verbResults,
} from "../launcher/protocol.ts";
import { type VmmPort, vmmFail } from "./port.ts";

/** The launcher takes 16 connections at a time and drops the next one; others may use it beside this process. */
const maxInFlight = 12;

const deadlinesMs: Readonly<Record<Verb, number>> = {
  describe: 5_000,
  list: 5_000,
  inspect: 5_000,
  emptyIdentityDrive: 5_000,
  prepare: 40_000,
  start: 40_000,
  remove: 40_000,
};

export interface LauncherClientOptions {
  readonly socketPath: string;
  /** Replaces every verb's own deadline. */
  readonly deadlineMs?: number;
}

/** The VMM port over the launcher's Unix socket: one connection a call, bounded in size and time. */
export function openLauncherClient(options: LauncherClientOptions): VmmPort {
  const turns = openTurns(maxInFlight);
  const call = async <V extends Verb>(verb: V, values: Arguments<V>): Promise<Result<V>> => {
    const checked = verbArguments[verb].safeParse(values);
    if (!checked.success) {
      const fields = checked.error.issues.map((issue) => issue.path.join(".")).join(", ");
      throw vmmFail("INVALID_REQUEST", `${verb}: ${fields} not valid`, { metadata: { field: fields } });
    }
    const traceparent = currentTraceparent();
    const request = JSON.stringify({ verb, arguments: values, ...(traceparent === undefined ? {} : { traceparent }) });
    const signal = AbortSignal.timeout(options.deadlineMs ?? deadlinesMs[verb]);
    const text = await turns(signal, () => exchange(options.socketPath, `${request}\n`, signal)).catch(
      (error: unknown) => {
        throw signal.aborted
          ? vmmFail("TIMED_OUT", `the launcher did not answer ${verb} in time`, { cause: error })
          : error;
      },
    );
    return readAnswer(verb, text);
  };
  return {
    async describe() {
      const { name, ...rest } = await call("describe", {});
      return { vmm: name, ...rest };
    },
    async prepare({ vmId, slot, image, overlayMib }) {
      await call("prepare", { vmId, slot, image, overlayMib });
    },
    start: ({ vmId, slot, image, vcpuCount, memoryMib, identityDrive }) =>
      call("start", {
        ...{ vmId, slot, image, vcpuCount, memoryMib },
        identityDrive: Buffer.from(identityDrive.buffer, identityDrive.byteOffset, identityDrive.byteLength).toString(
          "base64",
        ),
      }),
    async list() {
      const { vms } = await call("list", {});
      return vms.map(({ slot, ...vm }) => (slot === undefined ? vm : { ...vm, slot }));
    },
    inspect: (vmId) => call("inspect", { vmId }),
    async emptyIdentityDrive(vmId) {
      await call("emptyIdentityDrive", { vmId });
    },
    async remove(vmId) {
      await call("remove", { vmId });
    },
  };
}

function readAnswer<V extends Verb>(verb: V, text: string): Result<V> {
  const answer = answerSchema.safeParse(parseJson(text));
  if (!answer.success) throw vmmFail("INVALID_ANSWER", `the launcher's answer to ${verb} is malformed`);
  if (!answer.data.ok) throw vmmFail(answer.data.reason, `${verb}: ${answer.data.message}`);
  const result = verbResults[verb].safeParse(answer.data.result);
  if (!result.success) throw vmmFail("INVALID_ANSWER", `the launcher's result of ${verb} is malformed`);
  return result.data as Result<V>;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema refuses it
  }
}

/** Sends one line and returns the line that comes back. A socket that is gone, or closes without an answer, is UNAVAILABLE. */
function exchange(path: string, request: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = () => socket.destroy(new Error("deadline exceeded"));
    signal.addEventListener("abort", stop);
    socket.on("error", (error) => reject(vmmFail("UNAVAILABLE", "the launcher cannot be reached", { cause: error })));
    socket.on("close", () => {
      signal.removeEventListener("abort", stop);
      const text = Buffer.concat(chunks).toString("utf8");
      if (text.endsWith("\n")) resolve(text);
      else reject(vmmFail("UNAVAILABLE", "the launcher closed the connection without an answer"));
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size <= maxMessageBytes) return;
      reject(vmmFail("INVALID_ANSWER", "the launcher's answer is too long"));
      socket.destroy();
    });
    socket.end(request);
    if (signal.aborted) stop();
  });
}

/** Lets at most `limit` calls run at a time; the others wait in order until `signal` aborts. */
function openTurns(limit: number) {
  let running = 0;
  const waiting = new Set<() => void>();
  return async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    if (running >= limit) {
      await new Promise<void>((resolve, reject) => {
        const wake = () => {
          signal.removeEventListener("abort", giveUp);
          resolve();
        };
        const giveUp = () => {
          waiting.delete(wake);
          reject(new Error("deadline exceeded while waiting for a connection"));
        };
        signal.addEventListener("abort", giveUp);
        waiting.add(wake);
      });
    } else running += 1;
    try {
      return await work();
    } finally {
      const [next] = waiting;
      if (next === undefined) running -= 1;
      else {
        waiting.delete(next);
        next();
      }
    }
  };
}
