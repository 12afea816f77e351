import { connect, createServer, type Socket } from "node:net";
import { pipeline } from "node:stream";

/**
 * Runs inside a network namespace: `node namespace-relay.ts SOCKET=HOST:PORT...` listens on each Unix socket and connects what
 * arrives to the TCP port. A dial that is not answered soon is given up, because the retransmission of a lost SYN comes
 * a second later and whoever waits for a boot asks again sooner than that.
 */
const dialTimeoutMs = 100;

function relay(client: Socket, host: string, port: number): void {
  const target = connect({ host, port });
  const timer = setTimeout(() => target.destroy(), dialTimeoutMs);
  target.on("connect", () => {
    clearTimeout(timer);
    target.setNoDelay(true);
  });
  target.on("close", () => clearTimeout(timer));
  // Either end closing closes the other; the client sees a closed connection, as it would from a closed port.
  pipeline(client, target, () => target.destroy());
  pipeline(target, client, () => client.destroy());
}

for (const argument of process.argv.slice(2)) {
  const [, path = "", host = "", port = ""] = /^(.+)=([^=:]+):(\d+)$/.exec(argument) ?? [];
  const server = createServer((client) => relay(client, host, Number(port)));
  server.listen(path, () => process.stdout.write(`${path}\n`));
}
