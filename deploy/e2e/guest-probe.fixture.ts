/**
 * Asks a guest's agent for its health with one certificate; prints `answered`, whatever the answer, or why there was none. Runs inside the instance's network
 * namespace, where a test cannot go itself.
 *
 * Usage: node guest-probe.fixture.ts <address> <certificate> <key>
 */
import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";

const [address = "", certificate = "", key = ""] = process.argv.slice(2);
const tls = { cert: readFileSync(certificate), key: readFileSync(key), servername: "", rejectUnauthorized: false };
const session = connect(`https://${address}:7443`, tls);
const say = (text: string) => {
  process.stdout.write(text);
  process.exit(0);
};
session.on("error", (error) => say(error.message));
session.on("close", () => say("closed"));
session.setTimeout(8000, () => say("no answer"));
const headers = { ":method": "POST", ":path": `/${AgentService.typeName}/Health`, "content-type": "application/grpc" };
const stream = session.request(headers);
stream.on("error", () => undefined);
stream.on("response", () => say("answered"));
stream.end(Buffer.alloc(5));
