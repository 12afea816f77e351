/**
 * What must hold in front of tenants, each as one function that throws where it does not. The host tests run them against the
 * service; the ablation runs them with one control taken away and expects the throw.
 */

import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { connect } from "node:tls";
import { loadConfig, readConfig } from "../caddy/admin.ts";
import { type Answer, ask, echo, type Front, keptAgent, openWebSocket } from "./https-client.ts";
import { run } from "./programs.ts";
import type { SceneGuest } from "./scene.ts";
import { caddyUid, domain, extraHosts, proxyUid, type ScenePaths, strangerUid } from "./scene-paths.ts";

export const guests: readonly SceneGuest[] = [
  { name: "alpha", address: "10.201.0.1" },
  { name: "beta", address: "10.201.0.3" },
  { name: "foo", address: "10.201.0.5" },
  { name: "foo-ws", address: "10.201.0.7" },
  // Has the right name from an authority that is not the guests'.
  { name: "forged", address: "10.201.0.9", authority: "other" },
];

/** Where each name leads; `crossed` leads to alpha's guest by mistake. */
export const addresses: Readonly<Record<string, string>> = {
  ...Object.fromEntries(guests.map(({ name, address }) => [name, address])),
  crossed: "10.201.0.1",
};

/** Caddy with guests behind it, whoever configured it. */
export type Stage = {
  readonly paths: ScenePaths;
  readonly front: Front;
  /** With these extra host names and no others. */
  publish(tenant: string, extraHostNames?: readonly string[]): Promise<void>;
  withdraw(tenant: string): Promise<void>;
  runInside(...argv: string[]): Promise<string>;
  /** What the guests have printed so far. */
  guestOutput(): string;
};

export const hostOf = (tenant: string): string => `${tenant}.${domain}`;

export function assertRefused(answer: Answer, status: number, reason: string): void {
  assert.deepEqual({ status: answer.status, body: answer.text }, { status, body: `${JSON.stringify({ reason })}\n` });
  assert.equal(answer.headers["content-type"], "application/json");
}

export async function eachTenantGetsItsOwnAnswer({ front, publish }: Stage): Promise<void> {
  const tenants = ["alpha", "beta", "foo", "foo-ws"];
  for (const tenant of tenants) await publish(tenant);
  for (const tenant of [...tenants, ...tenants.toReversed()]) {
    const answer = await ask(front, `${hostOf(tenant)}:8443`, { path: "/x?y=1" });
    assert.equal(answer.status, 200, answer.text);
    const { guest, sni, client, host, path } = JSON.parse(answer.text);
    assert.deepEqual(
      { guest, sni, client, host, path },
      {
        guest: tenant,
        sni: `${tenant}.guest.internal`,
        client: "caddy",
        host: `${hostOf(tenant)}:8443`,
        path: "/x?y=1",
      },
    );
  }
}

export async function anAddressOfAnotherTenantIsRefused({ front, publish }: Stage): Promise<void> {
  await publish("crossed");
  assertRefused(await ask(front, hostOf("crossed")), 502, "TENANT_UNREACHABLE");
}

export async function aCertificateOfAnotherAuthorityIsRefused({ front, publish }: Stage): Promise<void> {
  await publish("forged");
  assertRefused(await ask(front, hostOf("forged")), 502, "TENANT_UNREACHABLE");
}

export async function onlyTenantNamesAreOurs({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const labels = ["Alpha", "ALPHA", "1alpha", "alpha-", "-alpha", "al_pha", "xn--alpha-", "a".repeat(41), "*"];
  for (const host of [...labels.map(hostOf), domain]) {
    assertRefused(await ask(front, host, { takesAnyCertificate: true }), 404, "NO_SUCH_HOST");
  }
}

export async function theHostMustBeTheServerName({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  await publish("beta");
  for (const host of [hostOf("alpha"), "alpha.elsewhere.example", `x.${hostOf("alpha")}`, "localhost", "127.0.0.1"]) {
    assertRefused(await ask(front, host, { serverName: hostOf("beta") }), 421, "WRONG_SERVER_NAME");
  }
}

export async function aWithdrawnNameIsRefusedOverPooledConnections({ front, publish, withdraw }: Stage): Promise<void> {
  await publish("alpha");
  const agent = keptAgent();
  try {
    assert.equal((await ask(front, hostOf("alpha"), { agent })).status, 200);
    await withdraw("alpha");
    assertRefused(await ask(front, hostOf("alpha"), { agent }), 404, "NO_SUCH_TENANT");
    assertRefused(await ask(front, hostOf("alpha")), 404, "NO_SUCH_TENANT");
    await publish("alpha");
    assert.equal((await ask(front, hostOf("alpha"), { agent })).status, 200);
  } finally {
    agent.destroy();
  }
}

/** From the call of `withdraw` to the first refusal, over a connection that is in use. */
export async function msUntilRefused({ front, publish, withdraw }: Stage): Promise<number> {
  await publish("alpha");
  const agent = keptAgent();
  try {
    assert.equal((await ask(front, hostOf("alpha"), { agent })).status, 200);
    const called = performance.now();
    const withdrawn = withdraw("alpha");
    while ((await ask(front, hostOf("alpha"), { agent })).status === 200) {
      assert.ok(performance.now() - called < 5000, "still answers 5 s after the call");
    }
    const elapsedMs = performance.now() - called;
    await withdrawn;
    return elapsedMs;
  } finally {
    agent.destroy();
  }
}

export async function webSocketsPassThrough({ front, publish }: Stage): Promise<void> {
  await publish("foo-ws");
  const socket = await openWebSocket(front, hostOf("foo-ws"));
  assert.equal(await echo(socket, "hello"), "foo-ws:hello");
  socket.terminate();
}

/** An answer that was begun is flushed as it comes and finished under the next configuration. */
export async function anAnswerOutlivesALoad({ front, publish, paths }: Stage): Promise<void> {
  await publish("alpha");
  const socket = connect({ path: front.socketPath, servername: hostOf("alpha"), ca: front.caPem });
  try {
    socket.write(`GET /stream/2 HTTP/1.1\r\nHost: ${hostOf("alpha")}\r\nConnection: close\r\n\r\n`);
    let answer = "";
    for await (const chunk of socket.setEncoding("utf8")) {
      const isFirst = !answer.includes("data:");
      answer += chunk;
      if (!isFirst || !answer.includes("data:")) continue;
      assert.ok(!answer.includes("data: 1\n"), "all of it came at once");
      const admin = { socketPath: paths.adminSocket };
      await loadConfig(admin, await readConfig(admin));
    }
    assert.match(answer, /^HTTP\/1\.1 200 .*data: 20\n.*data: 1\n/s);
  } finally {
    socket.destroy();
  }
}

export async function anExtraHostNameLeadsToItsTenantAlone({ front, publish, withdraw }: Stage): Promise<void> {
  const [shop, www] = extraHosts;
  const guestOf = async (host: string): Promise<string> => JSON.parse((await ask(front, host)).text).guest;
  await publish("foo", [shop, www]);
  await publish("beta");
  const answer = JSON.parse((await ask(front, shop)).text);
  assert.deepEqual([answer.guest, answer.host, answer.sni], ["foo", shop, "foo.guest.internal"]);
  assert.equal(answer.headers["x-forwarded-host"], shop);
  assert.deepEqual([await guestOf(www), await guestOf(hostOf("foo"))], ["foo", "foo"]);
  assertRefused(await ask(front, hostOf("beta"), { serverName: shop }), 421, "WRONG_SERVER_NAME");
  assertRefused(await ask(front, shop, { serverName: hostOf("beta") }), 421, "WRONG_SERVER_NAME");

  const agent = keptAgent();
  try {
    assert.equal((await ask(front, www, { agent })).status, 200);
    await publish("foo", [shop]);
    assertRefused(await ask(front, www, { agent }), 404, "NO_SUCH_HOST");
    await publish("beta", [www]);
    assert.equal(JSON.parse((await ask(front, www, { agent })).text).guest, "beta");
  } finally {
    agent.destroy();
  }
  for (const tenant of ["foo", "beta"]) await withdraw(tenant);
  for (const host of [shop, www]) assertRefused(await ask(front, host), 404, "NO_SUCH_HOST");
}

export async function anUnknownTenantIsRefused({ front }: Stage): Promise<void> {
  assertRefused(await ask(front, hostOf("nobody")), 404, "NO_SUCH_TENANT");
}

/** The scene allows 1 MiB. */
export async function aBodyOverTheLimitIsRefused({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  const body = Buffer.alloc(2 * 1024 * 1024);
  assertRefused(await ask(front, hostOf("alpha"), { method: "POST", body }), 413, "REQUEST_TOO_LARGE");
  const small = await ask(front, hostOf("alpha"), { method: "POST", body: body.subarray(0, 1000) });
  assert.equal(JSON.parse(small.text).bodyBytes, 1000);
}

export async function answersCarryOurHeadersAndNotTheServers({ front, publish }: Stage): Promise<void> {
  await publish("alpha");
  for (const host of [hostOf("alpha"), hostOf("nobody"), domain]) {
    const { headers } = await ask(front, host);
    assert.equal(headers["strict-transport-security"], "max-age=31536000");
    assert.equal(headers["server"], undefined);
  }
}

export async function nothingListensButWhatIsConfigured({ runInside, paths }: Stage): Promise<void> {
  const listening = await runInside("ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric", "--processes");
  const caddys = listening.split("\n").filter((line) => line.includes('"caddy"'));
  const addresses = caddys
    .map((line) => line.split(/\s+/))
    .map(([protocol, , , , address]) => `${protocol} ${address}`);
  assert.deepEqual(addresses.sort(), ["tcp *:443", "tcp *:80"]);
  await run("test", "-S", paths.adminSocket);
}

/** As `stat` prints them: only its owner makes files in the directory, only its group gets in. */
export async function theAdminSocketHasItsOwnersAndModes({ paths }: Stage): Promise<void> {
  const status = await run("stat", "--format=%u %g %a %F", paths.adminDirectory, paths.adminSocket);
  const lines = [`${caddyUid} ${proxyUid} 2750 directory`, `${caddyUid} ${proxyUid} 770 socket`];
  assert.deepEqual(status.trim().split("\n"), lines);
}

/** Every uid but Caddy's, proxy's and root's, with and without Caddy's group. */
export async function strangersCannotOpenTheAdminSocket({ paths }: Stage): Promise<void> {
  const connects = async (uid: number, gid: number): Promise<string> => {
    const script = `require("node:net").connect(${JSON.stringify(paths.adminSocket)})
      .on("connect", () => { console.log("open"); process.exit(0); }).on("error", (e) => console.log(e.code))`;
    const identity = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    return (await run("setpriv", ...identity, process.execPath, "-e", script)).trim();
  };
  assert.equal(await connects(proxyUid, proxyUid), "open");
  assert.equal(await connects(strangerUid, strangerUid), "EACCES");
  assert.equal(await connects(strangerUid, caddyUid), "EACCES");
}

/** A name without a certificate: the handshake ends before there is a request. */
export async function noHandshakeFor(front: Front, host: string): Promise<void> {
  await assert.rejects(ask(front, host), /alert|ECONNRESET|socket hang up/);
}

/** Where Caddy makes certificates itself. */
export async function onlyPublishedNamesGetACertificate({ front }: Stage): Promise<void> {
  await noHandshakeFor(front, "other.example");
}

export async function oldTlsIsRefused({ front }: Stage): Promise<void> {
  const versionAt = (version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3"): Promise<string | null> =>
    new Promise((resolve, reject) => {
      const options = {
        path: front.socketPath,
        servername: hostOf("alpha"),
        ca: front.caPem,
        ciphers: "DEFAULT:@SECLEVEL=0",
      };
      const socket = connect({ ...options, minVersion: version, maxVersion: version }, () => {
        resolve(socket.getProtocol());
        socket.destroy();
      });
      socket.on("error", reject);
    });
  assert.equal(await versionAt("TLSv1.3"), "TLSv1.3");
  assert.equal(await versionAt("TLSv1.2"), "TLSv1.2");
  await assert.rejects(versionAt("TLSv1.1"), /protocol version/);
}
