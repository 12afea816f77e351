/** A process that calls AttachNetwork and DetachNetwork as vm does, and says how many milliseconds each call took. */
import { randomUUID } from "node:crypto";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { timed } from "./control-path.ts";

export interface CallerCommands {
  connect(parameters: {
    unixPath: string;
    certificatePath: string;
    keyPath: string;
    platformCaPath: string;
  }): Promise<number>;
  attach(parameters: { vmId: string; slot: number }): Promise<number>;
  /** A call that does next to nothing: what any call costs. */
  read(): Promise<number>;
  detach(parameters: { vmId: string }): Promise<number>;
}

const readsBefore = 5;
/** As many as `vm` makes in the first minutes of a host: code that ran a hundred times costs twice what it costs once it is compiled. */
const warmUpReads = 2000;

let client: ReturnType<typeof createServiceClient<typeof NetworkService>> | undefined;

function connected(): NonNullable<typeof client> {
  if (client === undefined) throw new Error("not connected");
  return client;
}

/** Two processes that have slept for a while take 2 ms longer for any call; what is wanted is what this one costs. */
async function wake(): Promise<void> {
  for (let read = 0; read < readsBefore; read += 1) await connected().listNetworks({ page: { pageSize: 1 } });
}

const commands: CallerCommands = {
  connect: ({ unixPath, ...tls }) =>
    timed(async () => {
      client = createServiceClient(NetworkService, { service: "net", unixPath }, { ...tls, trustDomain: "bench" });
      for (let read = 0; read < warmUpReads; read += 1) await client.listNetworks({ page: { pageSize: 1 } });
    }),
  async attach(network) {
    await wake();
    return await timed(() => connected().attachNetwork({ requestId: randomUUID(), ...network }));
  },
  async read() {
    await wake();
    return await timed(() => connected().listNetworks({ page: { pageSize: 1 } }));
  },
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
