import { chmodSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { z } from "zod";

const maxMessageBytes = 64 * 1024;

const requestSchema = z.discriminatedUnion("verb", [
  z.strictObject({ verb: z.literal("status") }),
  z.strictObject({ verb: z.literal("restart"), process: z.string().max(64) }),
  z.strictObject({ verb: z.literal("stop"), process: z.string().max(64) }),
  z.strictObject({ verb: z.literal("shutdown") }),
]);
export type ControlRequest = z.infer<typeof requestSchema>;

const reportSchema = z.object({
  name: z.string(),
  state: z.enum(["running", "waiting", "stopped"]),
  pid: z.number().optional(),
  startTicks: z.string().optional(),
  restarts: z.number(),
  lastEnd: z.string().optional(),
});
const answerSchema = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), pid: z.number(), processes: z.array(reportSchema) }),
  z.object({ ok: z.literal(false), message: z.string() }),
]);
export type ControlReport = z.infer<typeof reportSchema>;
export interface ControlAnswer {
  /** Pid of the supervisor. */
  readonly pid: number;
  readonly processes: readonly ControlReport[];
}

/** Serves the control socket: one JSON line in, one out, one exchange per connection. Only root may connect. */
export function serveControl(
  path: string,
  handle: (request: ControlRequest) => Promise<ControlAnswer>,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.setTimeout(60_000, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    readLine(socket)
      .then((line) => handle(requestSchema.parse(JSON.parse(line))))
      .then(
        (answer) => socket.end(`${JSON.stringify({ ok: true, ...answer })}\n`),
        (error: unknown) => socket.end(`${JSON.stringify({ ok: false, message: messageOf(error) })}\n`),
      );
  });
  server.maxConnections = 16;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    // A socket that a killed supervisor left would refuse the bind; the instance lock keeps a second one away.
    rmSync(path, { force: true });
    const inherited = process.umask(0o177);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve(server);
    });
    process.umask(inherited);
  });
}

/** Asks the supervisor; `undefined` if none listens. Throws if it refuses or does not answer in time. */
export async function askSupervisor(
  path: string,
  request: ControlRequest,
  timeoutMs = 60_000,
): Promise<ControlAnswer | undefined> {
  const line = await new Promise<string | undefined>((resolve, reject) => {
    const socket = connect(path);
    socket.setTimeout(timeoutMs, () =>
      socket.destroy(new Error(`the supervisor did not answer within ${timeoutMs} ms`)),
    );
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // A reset: it was killed with this connection waiting to be accepted.
      if (["ENOENT", "ECONNREFUSED", "ECONNRESET"].includes(error.code ?? "")) resolve(undefined);
      else reject(error);
    });
    socket.once("connect", () => socket.end(`${JSON.stringify(request)}\n`));
    readLine(socket).then(resolve, reject);
  });
  if (line === undefined) return undefined;
  const answer = answerSchema.parse(JSON.parse(line));
  if (!answer.ok) throw new Error(answer.message);
  return answer;
}

function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
      else if (text.length > maxMessageBytes) socket.destroy(new Error("control message is too long"));
    });
    socket.on("close", () => reject(new Error("control connection ended early")));
    socket.on("error", reject);
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
