/**
 * Connects to the broker with one certificate and tries one thing; prints `ok` or the name of the error. Runs inside the
 * instance's network namespace, where a test cannot go itself.
 *
 * Usage: node broker-probe.fixture.ts <ca> <certificate> <key> publish|subscribe <subject>
 */
import { readFileSync } from "node:fs";
import { connect, type NatsConnection } from "@nats-io/transport-node";

const [ca = "", certificate = "", key = "", action = "", subject = ""] = process.argv.slice(2);

async function attempt(): Promise<string> {
  let connection: NatsConnection;
  try {
    connection = await connect({
      servers: ["127.0.0.1:4222"],
      inboxPrefix: "_INBOX_probe",
      reconnect: false,
      timeout: 5000,
      tls: { ca: readFileSync(ca, "utf8"), cert: readFileSync(certificate, "utf8"), key: readFileSync(key, "utf8") },
    });
  } catch (error) {
    return error instanceof Error ? error.name : "unknown";
  }
  // The broker reports a refusal beside the call and not by it; a round trip later it has arrived.
  let refusal = "ok";
  const watching = (async () => {
    for await (const status of connection.status()) if (status.type === "error") refusal = status.error.name;
  })();
  if (action === "publish") connection.publish(subject, "{}");
  else connection.subscribe(subject);
  await connection.flush();
  await connection.flush();
  await connection.close();
  await watching;
  return refusal;
}

process.stdout.write(await attempt());
