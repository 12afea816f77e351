import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ExecTenantRequestSchema, ExecTenantStartSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Input } from "./io.ts";

type Request = MessageInitShape<typeof ExecTenantRequestSchema>;
type Message = NonNullable<Request["message"]>;

/** What one ExecTenant call sends. */
export interface ExecRequests {
  readonly messages: AsyncIterable<Request>;
  /** Tells the command the terminal's new size, before more of standard input. */
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** The call has ended: nothing more is read. */
  end(): void;
}

const maxChunkBytes = 65_536;

/** The start of a command, then standard input as it comes, in pieces that the server takes. A piece is read when the one before it was sent. */
export function openExecRequests(input: Input, start: MessageInitShape<typeof ExecTenantStartSchema>): ExecRequests {
  let newSize: Message | undefined;
  let wake = Promise.withResolvers<void>();
  let hasEnded = false;
  const change = () => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  async function* messages(): AsyncGenerator<Request> {
    yield { message: { case: "start", value: start } };
    const chunks = inputMessages(input);
    let next: Promise<IteratorResult<Message>> | undefined = chunks.next();
    while (!hasEnded) {
      if (newSize !== undefined) {
        const message = newSize;
        newSize = undefined;
        yield { message };
        continue;
      }
      const arrived: IteratorResult<Message> | undefined =
        (await Promise.race([wake.promise, ...(next === undefined ? [] : [next])])) ?? undefined;
      if (arrived === undefined) continue;
      next = arrived.done ? undefined : chunks.next();
      if (!arrived.done) yield { message: arrived.value };
    }
  }
  return {
    messages: { [Symbol.asyncIterator]: messages },
    resize({ columns, rows }) {
      // Only the newest size counts, so resizing faster than the network takes them does not pile up.
      newSize = { case: "resize", value: { columns, rows } };
      change();
    },
    end() {
      hasEnded = true;
      change();
    },
  };
}

async function* inputMessages(input: Input): AsyncGenerator<Message> {
  for await (const chunk of input.chunks()) {
    for (let at = 0; at < chunk.length; at += maxChunkBytes)
      yield { case: "stdin", value: Uint8Array.from(chunk.subarray(at, at + maxChunkBytes)) };
  }
  yield { case: "stdinEnd", value: true };
}
