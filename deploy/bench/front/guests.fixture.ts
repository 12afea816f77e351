/**
 * One handler behind two ports of each guest: 9000 as a guest speaks it, TLS 1.3 with Caddy's certificate, and 9001 in plain HTTP.
 * `node guests.fixture.ts <plan.json>`; see `@lobsterd/proxy/testing/guests.fixture.ts`.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createPlainServer, type RequestListener } from "node:http";
import { createServer } from "node:https";
import type { GuestPlan } from "@lobsterd/proxy/testing/guests.fixture.ts";

const plan = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as GuestPlan;
const answer: RequestListener = (_request, response) => void response.end("ok");
for (const { address, port, certificatePem: cert, keyPem: key } of plan.guests) {
  const tls = { cert, key, ca: plan.clientCaPem, requestCert: true, rejectUnauthorized: true } as const;
  const encrypted = createServer({ ...tls, minVersion: "TLSv1.3" }, answer).listen(port, address);
  const plain = createPlainServer(answer).listen(port + 1, address);
  for (const server of [encrypted, plain]) server.keepAliveTimeout = 60_000;
  await Promise.all([once(encrypted, "listening"), once(plain, "listening")]);
}
process.stdout.write("listening\n");
