/**
 * A DNS server for tests, inside a network namespace: every name has one IPv4 address and no other.
 *
 * Usage: node name-server.fixture.ts <listen address> <answer>; prints one line when it listens.
 */
import { createSocket } from "node:dgram";

const [listen = "", answer = ""] = process.argv.slice(2);
const headerBytes = 12;
const typeA = 1;

function reply(query: Buffer): Buffer {
  let end = headerBytes;
  while ((query[end] ?? 0) !== 0) end += 1 + (query[end] ?? 0);
  const question = query.subarray(headerBytes, end + 5);
  const hasAddress = question.readUInt16BE(question.length - 4) === typeA;
  const header = Buffer.alloc(headerBytes);
  query.copy(header, 0, 0, 2);
  // An answer, recursion desired and available, no error.
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(hasAddress ? 1 : 0, 6);
  // The name of the question, class IN, 60 s, four bytes.
  const record = Buffer.from([0xc0, headerBytes, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4, ...answer.split(".").map(Number)]);
  return Buffer.concat(hasAddress ? [header, question, record] : [header, question]);
}

const socket = createSocket("udp4");
socket.on("message", (query, { port, address }) => {
  if (query.length > headerBytes) socket.send(reply(query), port, address);
});
socket.bind(53, listen, () => process.stdout.write("listening\n"));
