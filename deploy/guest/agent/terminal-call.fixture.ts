/** What a person at a terminal does with one Exec call, for tests. */
import { EventEmitter, once } from "node:events";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { AgentService, ExecRequestSchema, ExecStartSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { TerminalSize } from "./terminal.ts";

type Message = NonNullable<MessageInitShape<typeof ExecRequestSchema>["message"]>;

export interface TerminalCall {
  /** All that was shown so far. */
  readonly text: string;
  /** Rejects when the call fails, or ends without one. */
  readonly exitCode: Promise<number>;
  /** Resolves when the text so far has it. Rejects when the call ends before, or after `limitMs`. */
  shows(pattern: RegExp, limitMs?: number): Promise<RegExpExecArray>;
  /** Resolves when the call has taken it. */
  type(keys: string): Promise<void>;
  resize(size: TerminalSize): Promise<void>;
  /** Ends the call as a caller does that goes away. */
  leave(): void;
}

const defaultLimitMs = 30_000;

export function openTerminalCall(
  client: Pick<Client<typeof AgentService>, "exec">,
  start: MessageInitShape<typeof ExecStartSchema>,
): TerminalCall {
  const call = new AbortController();
  const changes = new EventEmitter();
  const queue: { message: Message; taken: () => void }[] = [];
  let text = "";
  let hasEnded = false;

  async function* requests() {
    yield { message: { case: "start" as const, value: start } };
    while (!call.signal.aborted && !hasEnded) {
      const next = queue.shift();
      if (next === undefined) await once(changes, "sent");
      else {
        yield { message: next.message };
        next.taken();
      }
    }
  }
  async function read(): Promise<number> {
    try {
      for await (const { message } of client.exec(requests(), { signal: call.signal })) {
        if (message.case === "exitCode") return message.value;
        if (message.case !== undefined) text += Buffer.from(message.value).toString();
        changes.emit("shown");
      }
      throw new Error("the call ended without an exit code");
    } finally {
      hasEnded = true;
      changes.emit("shown");
      changes.emit("sent");
    }
  }
  const exitCode = read();
  exitCode.catch(() => undefined); // whoever left does not ask
  const send = (message: Message) =>
    new Promise<void>((taken) => {
      queue.push({ message, taken });
      changes.emit("sent");
    });
  return {
    get text() {
      return text;
    },
    exitCode,
    async shows(pattern, limitMs = defaultLimitMs) {
      const signal = AbortSignal.timeout(limitMs);
      for (;;) {
        const found = pattern.exec(text);
        if (found !== null) return found;
        if (hasEnded) throw new Error(`the call ended before ${pattern}: ${JSON.stringify(text)}`);
        await once(changes, "shown", { signal }).catch((cause: unknown) => {
          throw new Error(`no ${pattern} within ${limitMs} ms: ${JSON.stringify(text)}`, { cause });
        });
      }
    },
    type: (keys) => send({ case: "stdin", value: Buffer.from(keys) }),
    resize: (size) => send({ case: "resize", value: size }),
    leave: () => {
      call.abort();
      changes.emit("sent");
    },
  };
}
