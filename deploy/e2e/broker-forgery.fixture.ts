/**
 * Publishes every event that a service could, genuine in form and false in content, with that service's certificate; prints how many the
 * broker took. Runs inside the instance's network namespace, where a test cannot go itself.
 *
 * Usage: node broker-forgery.fixture.ts <service> <ca> <certificate> <key> <facts as JSON>
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { z } from "zod";

const [service = "", ca = "", certificate = "", key = "", text = ""] = process.argv.slice(2);
const { tenants, names, data } = z
  .object({ tenants: z.array(z.string()), names: z.array(z.string()), data: z.record(z.string(), z.unknown()) })
  .parse(JSON.parse(text));
const connection = await connect({
  servers: ["127.0.0.1:4222"],
  inboxPrefix: `_INBOX_${service}`,
  reconnect: false,
  tls: { ca: readFileSync(ca, "utf8"), cert: readFileSync(certificate, "utf8"), key: readFileSync(key, "utf8") },
});
// A service that has published nothing yet has no stream; the answer says so if it is there.
const stream = `LOBSTERD_${service.toUpperCase()}`;
const configuration = { name: stream, subjects: [`${service}.v1.>`], storage: "file", max_msgs: 10_000 };
await connection.request(`$JS.API.STREAM.CREATE.${stream}`, JSON.stringify(configuration));
const bus = jetstream(connection);
let taken = 0;
for (const tenant of tenants) {
  for (const name of names) {
    const subject = `${service}.v1.${tenant === "" ? "_" : tenant}.${name}`;
    const event = { id: randomUUID(), time: new Date().toISOString(), service, tenant, name, data };
    // Genuine in form, for somebody else, twice under one id, and no event at all.
    const bodies = [event, { ...event, tenant: "somebody-else" }, { ...event, data: {} }];
    for (const body of bodies) await bus.publish(subject, JSON.stringify(body), { msgID: event.id });
    await bus.publish(subject, JSON.stringify(event));
    await bus.publish(subject, "{".repeat(60_000));
    taken += bodies.length + 2;
  }
}
await connection.close();
process.stdout.write(String(taken));
