/**
 * Tries every TCP port of an address and prints, as JSON, those that accept a connection. Runs inside a network namespace,
 * where a test cannot go itself.
 *
 * Usage: node port-scan.fixture.ts <address>
 */
import { connect } from "node:net";

const [address = ""] = process.argv.slice(2);
const lastPort = 65_535;
const attemptsAtOnce = 256;
const answerLimitMs = 2000;

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: answerLimitMs });
    const end = (accepted: boolean): void => {
      resolve(accepted);
      socket.destroy();
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
  });
}

const open: number[] = [];
let next = 1;
async function scan(): Promise<void> {
  for (let port = next++; port <= lastPort; port = next++) if (await accepts(port)) open.push(port);
}

await Promise.all(Array.from({ length: attemptsAtOnce }, scan));
process.stdout.write(JSON.stringify(open.sort((a, b) => a - b)));
