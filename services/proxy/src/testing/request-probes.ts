/** What must hold for a single request, whoever wrote its bytes; see `probes.ts`. */

import assert from "node:assert/strict";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { ask } from "./https-client.ts";
import { assertRefused, hostOf, type Stage } from "./probes.ts";
import { exchangeRaw } from "./raw-front.ts";
import { smugglingCorpus } from "./smuggling.ts";

/** Longer than every time limit of the scene, so what is still open then is not limited. */
const patienceMs = 8000;

/** Attacks on alpha that aim at beta, while others ask both: no guest gets what was smuggled, everybody gets their own answer. */
export async function nothingIsSmuggled(stage: Stage): Promise<void> {
  const { front, publish } = stage;
  for (const tenant of ["alpha", "beta"]) await publish(tenant);
  const corpus = smugglingCorpus(hostOf("alpha"), hostOf("beta"));
  const ends = new AbortController();
  const bystanders = ["alpha", "beta", "alpha", "beta"].map((tenant) => askUntil(stage, tenant, ends.signal));
  const answers = await Promise.all(
    corpus.map(async ({ what, protocol, bytes }) => {
      const answer = await exchangeRaw(front, hostOf("alpha"), bytes, { protocol });
      return { what, answer };
    }),
  ).finally(() => ends.abort());
  for (const asked of await Promise.all(bystanders)) assert.ok(asked > 0);
  for (const { what, answer } of answers) assert.doesNotMatch(answer, /"guest":"(?!alpha)/, what);
  const told = await toldByGuests(stage);
  const isOwn = (line: string): boolean => line.endsWith(` as ${hostOf(line.split(" ")[0] ?? "")}`);
  assert.deepEqual(
    told.filter((line) => line.startsWith("beta ") || !isOwn(line)),
    [],
  );
}

/** Requests on one kept connection until the signal; each answer has to be the asker's own. Returns how many. */
async function askUntil({ front }: Stage, tenant: string, signal: AbortSignal): Promise<number> {
  let asked = 0;
  while (!signal.aborted) {
    asked += 1;
    const answer = await ask(front, hostOf(tenant), { path: `/bystander/${asked}` });
    const { guest, path } = JSON.parse(answer.text);
    assert.deepEqual({ guest, path }, { guest: tenant, path: `/bystander/${asked}` });
  }
  return asked;
}

/** What guests were asked for under `/told-…` so far: a last request to each tells that their lines are all here. */
async function toldByGuests({ front, guestOutput }: Stage): Promise<string[]> {
  const mark = `/told-mark-${process.hrtime.bigint()}`;
  for (const tenant of ["alpha", "beta"]) {
    assert.equal((await ask(front, hostOf(tenant), { path: mark })).status, 200);
    const isTold = async (): Promise<true | undefined> =>
      guestOutput().includes(`${tenant} got ${mark} as `) || undefined;
    await waitFor(`${tenant} told`, isTold, { timeoutMs: 5000, intervalMs: 10 });
  }
  return guestOutput()
    .split("\n")
    .filter((line) => / got /.test(line) && !line.includes("told-mark-"));
}

export async function onlyWebSocketsAreUpgradesAndNobodyIsAProxy({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const upgrade = (...protocols: string[]): string =>
    [
      `GET /told-upgrade HTTP/1.1\r\nHost: ${hostOf("alpha")}\r\nConnection: Upgrade`,
      ...protocols.map((protocol) => `Upgrade: ${protocol}`),
      "\r\n",
    ].join("\r\n");
  const host = `Host: ${hostOf("alpha")}\r\n\r\n`;
  const refused: [pattern: RegExp, request: string][] = [
    ...[["h2c"], ["h2c", "websocket"], ["websocket", "h2c"], ["websocket, h2c"], ["TLS/1.0"]].map(
      (protocols): [RegExp, string] => [/^HTTP\/1\.1 400 [\s\S]*"UPGRADE_NOT_SUPPORTED"/, upgrade(...protocols)],
    ),
    [/^HTTP\/1\.1 405 [\s\S]*"METHOD_NOT_ALLOWED"/, `CONNECT ${hostOf("alpha")}:443 HTTP/1.1\r\n${host}`],
    [/^HTTP\/1\.1 405 [\s\S]*"METHOD_NOT_ALLOWED"/, `TRACE / HTTP/1.1\r\n${host}`],
  ];
  await Promise.all(
    refused.map(async ([pattern, request]) =>
      assert.match(await exchangeRaw(front, hostOf("alpha"), request), pattern),
    ),
  );
}

export async function namesThatLookAlikeAreRefused({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const names = [
    "alpha.tenants.example.",
    "ALPHA.tenants.example",
    "\u0430lpha.tenants.example",
    "alpha%2etenants.example",
  ];
  const odd = [
    "alpha.tenants.example:443:443",
    "alpha.tenants.example\u0000",
    "[alpha.tenants.example]",
    "alpha..tenants.example",
  ];
  await Promise.all(
    [...names, ...odd].map(async (name) => {
      const request = Buffer.from(`GET /told-alike HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
      assert.match(await exchangeRaw(front, hostOf("alpha"), request), /^HTTP\/1\.1 4(00|04|21) /, name);
    }),
  );
}

/** Of Caddy, of its admin API: to the front they are paths of a tenant like any other. */
export async function pathsOfTheAdminApiAreTheTenants({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  for (const path of ["/config/", "/load", "/stop", "/pki/ca/local", "/reverse_proxy/upstreams", "/debug/pprof/"]) {
    const answer = await ask(front, hostOf("alpha"), { path });
    assert.deepEqual([answer.status, JSON.parse(answer.text).guest], [200, "alpha"], path);
  }
}

const forged: Readonly<Record<string, string>> = {
  "X-Forwarded-For": "6.6.6.6",
  "X-Forwarded-Proto": "ftp",
  "X-Forwarded-Host": "evil.example",
  "X-Forwarded-Port": "1",
  "X-Forwarded-Prefix": "/evil",
  "X-Forwarded-Server": "evil.example",
  "X-Real-IP": "6.6.6.6",
  "True-Client-IP": "6.6.6.6",
  "X-Cluster-Client-IP": "6.6.6.6",
  "CF-Connecting-IP": "6.6.6.6",
  "X-Original-URL": "/evil",
  "X-Rewrite-URL": "/evil",
  "X-Host": "evil.example",
  Forwarded: "for=6.6.6.6",
  X_Forwarded_For: "6.6.6.6",
  // A hop-by-hop header is taken away, which must not take what Caddy says of the client with it.
  Connection: "X-Forwarded-Host, X-Forwarded-Proto, X-Hop, keep-alive",
  "X-Hop": "6.6.6.6",
  "Keep-Alive": "6.6.6.6",
  "Proxy-Connection": "6.6.6.6",
  "Proxy-Authorization": "6.6.6.6",
  TE: "gzip",
};

export async function whatOnlyAProxySaysIsCaddys({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const answer = await ask(front, hostOf("alpha"), { headers: { ...forged, "X-Kept": "kept" } });
  const { headers } = JSON.parse(answer.text) as { headers: Record<string, string> };
  const { "user-agent": _, "accept-encoding": _encoding, ...rest } = headers;
  assert.deepEqual(rest, {
    host: hostOf("alpha"),
    "x-forwarded-host": hostOf("alpha"),
    "x-forwarded-proto": "https",
    "x-kept": "kept",
  });
}

/** The scene allows 32 KiB, and Go's server 4 KiB more for the request line. */
export async function headersOverTheLimitAreRefused({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const withHeader = (bytes: number) => ask(front, hostOf("alpha"), { headers: { "X-Large": "x".repeat(bytes) } });
  assert.equal((await withHeader(31_000)).status, 200);
  assert.equal((await withHeader(40_000)).status, 431);
}

/** The scene allows 64 KiB. */
export async function anAnswerWithEndlessHeadersIsRefused({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  assert.equal((await ask(front, hostOf("alpha"), { path: "/answer-headers/10000" })).status, 200);
  assertRefused(await ask(front, hostOf("alpha"), { path: "/answer-headers/300000" }), 502, "TENANT_UNREACHABLE");
}

export async function aSlowRequestIsCutOff({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const limit = { limitMs: patienceMs };
  await exchangeRaw(front, hostOf("alpha"), `GET / HTTP/1.1\r\nHost: ${hostOf("alpha")}\r\nX: `, limit);
}

export async function aSlowBodyIsCutOff({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const head = `POST / HTTP/1.1\r\nHost: ${hostOf("alpha")}\r\nContent-Length: 10\r\n\r\n`;
  await exchangeRaw(front, hostOf("alpha"), `${head}12345`, { limitMs: patienceMs });
}

export async function anIdleConnectionIsClosed({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const answer = await exchangeRaw(front, hostOf("alpha"), `GET / HTTP/1.1\r\nHost: ${hostOf("alpha")}\r\n\r\n`, {
    limitMs: patienceMs,
  });
  assert.match(answer, /^HTTP\/1\.1 200 /);
}
