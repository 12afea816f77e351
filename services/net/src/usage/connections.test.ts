import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../netlink/conntrack.ts";
import { connectionUse } from "./connections.ts";

const guest = "10.77.0.2";
const internet = "93.184.216.34";
const resolver = "9.9.9.9";

function outbound(protocol: number, destination: string, destinationPort: number, tcpState?: number): Connection {
  const ends = { source: guest, destination, sourcePort: 40_000, destinationPort };
  return {
    original: { protocol, ...ends },
    reply: { protocol, source: destination, destination: guest, sourcePort: destinationPort, destinationPort: 40_000 },
    identity: Buffer.alloc(0),
    ...(tcpState === undefined ? {} : { tcpState }),
  };
}

function inbound(port: number, tcpState: number, secondsLeft: number): Connection {
  const [host, outer] = ["10.201.0.6", "10.201.0.7"];
  return {
    original: { protocol: 6, source: host, destination: outer, sourcePort: 50_000, destinationPort: port },
    reply: { protocol: 6, source: guest, destination: host, sourcePort: port, destinationPort: 50_000 },
    identity: Buffer.alloc(0),
    ...{ tcpState, secondsLeft },
  };
}

const use = (...connections: readonly Connection[]) => connectionUse(connections, [resolver], 3600);

test("a connection that the guest opened counts from its first packet until it is closed, whatever its silence", () => {
  const states = [1, 2, 3, 4, 5, 6, 7, 8].map((state) => use(outbound(6, internet, 443, state)).outboundConnections);
  assert.deepEqual(states, [1, 1, 1, 1, 1, 0, 0, 0]);
  assert.equal(use(outbound(17, internet, 443)).outboundConnections, 1);
});

test("questions to the configured DNS servers and pings are no use; questions to another server are", () => {
  assert.equal(use(outbound(17, resolver, 53), outbound(1, internet, 0)).outboundConnections, 0);
  assert.equal(use(outbound(17, internet, 53), outbound(17, resolver, 5353)).outboundConnections, 2);
});

test("of the inbound ones only established ones to the gateway count, with the silence of the liveliest", () => {
  assert.deepEqual(use(inbound(9000, 3, 3590), inbound(9000, 3, 3597), inbound(9000, 7, 1), inbound(7443, 3, 3600)), {
    ...{ outboundConnections: 0, inboundConnections: 2, inboundSilenceSeconds: 3 },
  });
  assert.deepEqual(use(inbound(7443, 3, 3600)), {
    ...{ outboundConnections: 0, inboundConnections: 0, inboundSilenceSeconds: undefined },
  });
});
