/**
 * Hands connections of the machine's loopback to the instance. The supervisor accepts them outside and sends each one here
 * with its target; this process lives in the instance's network namespace, has no rights, and only copies bytes. TLS is
 * between the caller and the service.
 */
import { connect, Socket } from "node:net";
import { isForwardTarget } from "./forwarding.ts";
import { uplink } from "./outside.ts";

const maxConnections = 1024;
let open = 0;

process.on("message", (target: unknown, inbound: unknown) => {
  if (!(inbound instanceof Socket)) return;
  if (!isForwardTarget(target) || open >= maxConnections) {
    inbound.destroy();
    return;
  }
  open += 1;
  join(inbound, target.kind === "unix" ? connect(target.path) : connect(tcpOptions(target.port)), () => {
    open -= 1;
  });
});
// The supervisor ended: nobody will send another connection, and a new supervisor starts a forwarder of its own.
process.on("disconnect", () => process.exit(0));

/** From an address that is not the loopback's: behind a proxy on the loopback, a client there is nobody to a workload that looks at who asks. */
function tcpOptions(port: number) {
  return { host: "127.0.0.1", port, localAddress: uplink.address };
}

function join(inbound: Socket, outbound: Socket, done: () => void): void {
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    inbound.destroy();
    outbound.destroy();
    done();
  };
  for (const socket of [inbound, outbound]) {
    // Each direction ends by itself: a client may finish sending before the answer comes.
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    socket.on("error", end);
    socket.on("close", end);
  }
  inbound.pipe(outbound);
  outbound.pipe(inbound);
  inbound.resume();
}
