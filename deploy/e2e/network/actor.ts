/** A process that a story puts into a network namespace and tells over IPC what to do there. Answers are `{ id, result }`. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { connectAll } from "../../guest/probe/sockets.ts";

export interface ActorVerbs {
  /** Echoes by TCP and UDP on `port` of every address, as long as the process lives. */
  echo(parameters: { port: number }): Promise<"listening">;
  connectAll: typeof connectAll;
}

async function echo({ port }: { port: number }): Promise<"listening"> {
  const datagrams = createSocket("udp4");
  datagrams.on("message", (data, { address, port: from }) => datagrams.send(data, from, address));
  await new Promise<void>((resolve) => datagrams.bind(port, resolve));
  const server = createServer((socket) => socket.on("error", () => socket.destroy()).pipe(socket));
  await new Promise<void>((resolve) => server.listen({ port, host: "0.0.0.0", backlog: 4096 }, resolve));
  return "listening";
}

const verbs: ActorVerbs = { echo, connectAll };

export interface Order {
  readonly id: number;
  readonly verb: keyof ActorVerbs;
  readonly parameters: never;
}

if (process.send !== undefined) {
  process.on("message", ({ id, verb, parameters }: Order) => {
    const act = verbs[verb] as (parameters: never) => Promise<unknown>;
    void act(parameters).then((result) => process.send?.({ id, result }));
  });
  process.on("disconnect", () => process.exit(0));
  process.send({ id: 0, result: "ready" });
}
