/** A process that calls AttachNetwork and DetachNetwork as vm does, and says how many milliseconds each call took. */
import { randomUUID } from "node:crypto";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { timed } from "./control-path.ts";

export interface CallerCommands {
  /** Makes the connection, with one call that does next to nothing. */
  connect(parameters: {
    unixPath: string;
    certificatePath: string;
    keyPath: string;
    platformCaPath: string;
  }): Promise<number>;
  /** So many calls that do next to nothing, one after the other. */
  read(parameters: { calls: number }): Promise<number>;
  attach(parameters: { vmId: string; slot: number }): Promise<number>;
  detach(parameters: { vmId: string }): Promise<number>;
}

let client: ReturnType<typeof createServiceClient<typeof NetworkService>> | undefined;

function connected(): NonNullable<typeof client> {
  if (client === undefined) throw new Error("not connected");
  return client;
}

const commands: CallerCommands = {
  connect: ({ unixPath, ...tls }) =>
    timed(async () => {
      client = createServiceClient(NetworkService, { service: "net", unixPath }, { ...tls, trustDomain: "bench" });
      await client.listNetworks({ page: { pageSize: 1 } });
    }),
  read: ({ calls }) =>
    timed(async () => {
      for (let call = 0; call < calls; call += 1) await connected().listNetworks({ page: { pageSize: 1 } });
    }),
  attach: (network) => timed(() => connected().attachNetwork({ requestId: randomUUID(), ...network })),
  detach: (network) => timed(() => connected().detachNetwork({ requestId: randomUUID(), ...network })),
};

type Message = { id: number; name: keyof CallerCommands; parameter: never };

if (process.send !== undefined) {
  process.on("message", ({ id, name, parameter }: Message) => {
    const command = commands[name] as (parameter: never) => Promise<number>;
    void command(parameter).then((result) => process.send?.({ id, result }));
  });
  process.on("disconnect", () => process.exit(0));
}
