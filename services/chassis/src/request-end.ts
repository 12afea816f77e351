import type { ClientHttp2Stream } from "node:http2";
import type { GrpcTransportOptions } from "@connectrpc/connect-node";

type Sessions = NonNullable<GrpcTransportOptions["sessionManager"]>;
type Done = (error?: Error | null) => void;

/**
 * For unary calls over `sessions`: the message and the end of the request go out in one frame. Left to the RPC library, the end follows when the
 * message was sent, a turn of the event loop later, and a server answers nothing before it.
 */
export function endWithMessage(sessions: Sessions): Sessions {
  return {
    authority: sessions.authority,
    request: async (...call) => holdLastWrite(await sessions.request(...call)),
    notifyResponseByteRead: (stream) => sessions.notifyResponseByteRead(stream),
  };
}

/** What was written last waits for what comes next: more, or the end. A unary request is one message, so nothing waits for long. */
function holdLastWrite(stream: ClientHttp2Stream): ClientHttp2Stream {
  let held: { readonly chunk: Uint8Array; readonly encoding: BufferEncoding } | undefined;
  const { write } = stream;
  const end: (this: ClientHttp2Stream, done?: Done) => ClientHttp2Stream = stream.end;
  const release = (): void => {
    if (held !== undefined) write.call(stream, held.chunk, held.encoding);
    held = undefined;
  };
  return Object.assign(stream, {
    write(chunk: Uint8Array, encoding: BufferEncoding, done: Done): boolean {
      release();
      held = { chunk, encoding };
      queueMicrotask(() => done());
      return true;
    },
    end(done?: Done): ClientHttp2Stream {
      release();
      return end.call(stream, done);
    },
  });
}
