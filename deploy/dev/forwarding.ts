import { createServer, type Server, type Socket } from "node:net";
import { type Instance, innerPorts, serviceNames } from "./instance.ts";

/** Where a connection goes, as seen inside the instance. */
export type ForwardTarget =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly port: number };

export interface Forward {
  readonly name: string;
  readonly port: number;
  readonly target: ForwardTarget;
}

/** Every port of the machine's loopback that leads into the instance. */
export function forwardsOf(instance: Instance): Forward[] {
  return [
    ...serviceNames.map((name) => ({
      name,
      port: instance.ports[name],
      target: { kind: "unix", path: `${instance.runDir}/${name}/rpc.sock` } as const,
    })),
    { name: "https", port: instance.ports.https, target: { kind: "tcp", port: innerPorts.https } },
    { name: "traces", port: instance.ports.traces, target: { kind: "tcp", port: innerPorts.traces } },
  ];
}

export function isForwardTarget(value: unknown): value is ForwardTarget {
  if (typeof value !== "object" || value === null || !("kind" in value)) return false;
  if (value.kind === "unix") return "path" in value && typeof value.path === "string";
  return value.kind === "tcp" && "port" in value && typeof value.port === "number";
}

/** Listens on every forwarded port; each accepted connection is given to `accept` unread. Throws, with nothing open, if one is taken. */
export async function listenForwards(
  forwards: readonly Forward[],
  accept: (socket: Socket, target: ForwardTarget) => void,
): Promise<Server[]> {
  const servers: Server[] = [];
  try {
    for (const { port, target } of forwards) {
      const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => accept(socket, target));
      await listening(server, port);
      servers.push(server);
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return servers;
}

/** Throws an error that names every forwarded port that something else on the machine listens on. */
export async function requireFreePorts(forwards: readonly Forward[]): Promise<void> {
  const taken: string[] = [];
  for (const { name, port } of forwards) if (await isTaken(port)) taken.push(`${port} (for ${name})`);
  if (taken.length > 0) {
    throw new Error(`something else listens on 127.0.0.1 port ${taken.join(", ")}: stop it, nothing was started`);
  }
}

function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  return listening(server, port).then(
    () => new Promise((resolve) => server.close(() => resolve(false))),
    () => true,
  );
}

function listening(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(new Error(`cannot listen on 127.0.0.1:${port}: ${error.message}`)));
    server.listen(port, "127.0.0.1", () => resolve());
  });
}
