import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { replaceInJail } from "./jail-attacks.ts";
import { overlaid } from "./stub-configuration.ts";
import { misbehave, type StubFault } from "./stub-faults.ts";
import {
  createStubMachine,
  type StubAnswer,
  type StubMachine,
  type StubMachineOptions,
  type StubRequest,
  type StubState,
} from "./stub-machine.ts";

export interface StubVmmOptions extends StubMachineOptions {
  readonly socketPath?: string;
  /** Asked before each request. */
  readonly faults?: () => readonly StubFault[];
}

export interface StubVmm {
  readonly machine: StubMachine;
  /** Everything that was asked, with the state it was asked in and the answer meant. */
  readonly requests: readonly (StubRequest & { readonly state: StubState; readonly answer: StubAnswer })[];
  readonly socketPath: string;
  /** Resolves when the process has ended by itself or by `close`. */
  readonly ended: Promise<void>;
  close(): void;
}

const maxRequestBytes = 51_200;

/** Serves Firecracker's API on a Unix socket, byte for byte as Firecracker frames it, with nothing behind it. */
export async function startStubVmm(options: StubVmmOptions): Promise<StubVmm> {
  const { root, faults = () => [] } = options;
  const socketPath = options.socketPath ?? `${root}/api.socket`;
  const machine = createStubMachine(options);
  const requests: StubVmm["requests"][number][] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket)).on("error", () => {});
    readRequests(socket, (request) => serve(socket, request));
  });
  const ended = once(server, "close").then(() => {});
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    machine.close();
  };
  const serve = (socket: Socket, request: StubRequest) => {
    const fault = faults().find((candidate) => candidate.on === `${request.method} ${request.path}`);
    if (fault?.kind === "attack") replaceInJail(fault.attack);
    const { state } = machine;
    const answer = answerWith(fault, () => machine.answer(request));
    requests.push({ ...request, state, answer: answer ?? { status: 0 } });
    if (fault?.kind === "die") close();
    else if (answer !== undefined) socket.write(answerBytes(answer));
    else if (fault !== undefined) misbehave(socket, fault);
  };
  server.listen(socketPath);
  await once(server, "listening");
  return { machine, requests, socketPath, ended, close };
}

/** Undefined when there is no answer of the ordinary form. */
function answerWith(fault: StubFault | undefined, answer: () => StubAnswer): StubAnswer | undefined {
  switch (fault?.kind) {
    case undefined:
    case "attack":
      return answer();
    case "refuse":
      return { status: 400, body: { fault_message: fault.message } };
    case "answer":
      return { status: fault.status, body: fault.body };
    case "lie": {
      const { status, body } = answer();
      return { status, body: overlaid(body, fault.changes) };
    }
    default:
      return undefined;
  }
}

function answerBytes({ status, body }: StubAnswer): string {
  const head = `HTTP/1.1 ${status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n`;
  if (body === undefined) return `${head}\r\n`;
  const json = JSON.stringify(body);
  return `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
}

function readRequests(socket: Socket, serve: (request: StubRequest) => void): void {
  let received = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    received += text;
    if (received.length > maxRequestBytes) return void socket.destroy();
    for (;;) {
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = received.slice(0, end);
      const length = Number(/^content-length: *([0-9]+)$/im.exec(head)?.[1] ?? 0);
      if (received.length < end + 4 + length) return;
      const body = Buffer.from(received.slice(end + 4, end + 4 + length), "latin1").toString("utf8");
      received = received.slice(end + 4 + length);
      const [method = "", path = ""] = head.split(" ");
      serve({ method, path, ...(body === "" ? {} : { body: JSON.parse(body) }) });
    }
  });
}
