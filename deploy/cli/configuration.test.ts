import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { connectStack, parseAddress } from "../client/clients.ts";
import { rpcSocketPath } from "../dev/configuration.ts";
import { certificatePaths } from "../dev/identities.ts";
import { checkoutDir } from "../dev/instance.ts";
import { describeHost } from "../systemd/host-instance.ts";
import { UsageError } from "./command.ts";
import { readConfiguration, requireReadable } from "./configuration.ts";

const file = {
  ...{ grpc: "file:1", grpcNet: "file:2", grpcProxy: "file:3", grpcSecrets: "file:4", grpcAudit: "file:5" },
  ...{ domain: "file", ca: "/file/ca", cert: "/file/cert", key: "/file/key" },
};

/** A home directory with that configuration in it. */
function home(t: { after(clean: () => void): void }, content: unknown): { HOME: string; path: string } {
  const directory = mkdtempSync(join(tmpdir(), "lobster-test-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, ".config/lobster/config.json");
  mkdirSync(join(directory, ".config/lobster"), { recursive: true });
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return { HOME: directory, path };
}

const options = (given: Readonly<Record<string, string>>) => (name: string) => given[name];
const none = options({});
const optionsOf = (settings: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`),
      value,
    ]),
  );

test("an option goes before the environment, and the environment before the file", (t) => {
  const { HOME } = home(t, file);
  const read = readConfiguration(options({ grpc: "option:1" }), {
    ...{ HOME, LOBSTERD_GRPC: "environment:1", LOBSTERD_GRPC_NET: "environment:2", LOBSTERD_CA: "" },
  });
  assert.deepEqual(
    [read.LOBSTERD_GRPC, read.LOBSTERD_GRPC_NET, read.LOBSTERD_GRPC_PROXY, read.LOBSTERD_CA],
    ["option:1", "environment:2", "file:3", "/file/ca"],
  );
});

test("the file is that of --config, of LOBSTER_CONFIG, of XDG_CONFIG_HOME or of the home directory", (t) => {
  const usual = home(t, file);
  const other = home(t, { ...file, domain: "other" });
  const third = home(t, { ...file, domain: "third" });
  const domain = (option: Readonly<Record<string, string>>, environment: Readonly<Record<string, string>>) =>
    readConfiguration(options(option), { HOME: usual.HOME, ...environment }).LOBSTERD_DOMAIN;
  assert.equal(domain({}, {}), "file");
  assert.equal(domain({}, { XDG_CONFIG_HOME: join(other.HOME, ".config") }), "other");
  assert.equal(domain({}, { LOBSTER_CONFIG: other.path }), "other");
  assert.equal(domain({ config: third.path }, { LOBSTER_CONFIG: other.path }), "third");
});

test("what is missing or wrong is named, all of it", (t) => {
  const { HOME } = home(t, "{}");
  assert.throws(
    () => readConfiguration(options({ grpc: "nowhere", domain: "d" }), { HOME }),
    (error: unknown) =>
      error instanceof UsageError &&
      /--grpc \(or \$LOBSTERD_GRPC\) is not HOST:PORT or unix:\/PATH: nowhere/.test(error.message) &&
      /--key \(or \$LOBSTERD_KEY\) is missing/.test(error.message) &&
      !/domain/.test(error.message),
  );
});

test("an address is HOST:PORT or a Unix socket, with or without its scheme", () => {
  assert.deepEqual(parseAddress("localhost:7601"), { host: "localhost", port: 7601 });
  for (const text of ["unix:/run/x/rpc.sock", "/run/x/rpc.sock"])
    assert.deepEqual(parseAddress(text), { unixPath: "/run/x/rpc.sock" });
  for (const text of [
    "",
    "localhost",
    "localhost:",
    ":1",
    "a:99999",
    "a:1:2",
    "unix:",
    "unix:x.sock",
    "x/y:1",
    "a b:1",
  ])
    assert.equal(parseAddress(text), undefined, text);
  const read = readConfiguration(options(optionsOf({ ...file, grpc: "unix:/run/x/rpc.sock" })), {});
  assert.equal(read.LOBSTERD_GRPC, "unix:/run/x/rpc.sock");
});

test("a service is called over the Unix socket of its address", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobster-test-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "rpc.sock");
  const server = createServer((socket) => socket.destroy());
  const connected = once(server, "connection");
  await once(server.listen(path), "listening");
  t.after(() => server.close());
  const { caPath, issue } = testCertificates(directory);
  const { certificatePath, keyPath } = issue("op", ["spiffe://test/client/op"]);
  const given = { ...file, grpc: `unix:${path}`, ca: caPath, cert: certificatePath, key: keyPath };
  const { tenants } = connectStack(readConfiguration(options(optionsOf(given)), {}));
  const stop = new AbortController();
  const call = tenants.getTenant({ name: "mia" }, { signal: stop.signal });
  await Promise.all([connected.then(() => stop.abort()), assert.rejects(call)]);
});

test("the README of a host that systemd runs has a configuration that leads to its services", () => {
  const text = readFileSync(join(checkoutDir, "deploy/systemd/README.md"), "utf8");
  const documented = JSON.parse(/^```json\n(\{"grpc".*?)^```$/ms.exec(text)?.[1] ?? "");
  const host = describeHost(documented.domain, 1);
  const { certificatePath, keyPath } = certificatePaths(host).client("operator");
  const addressOf = (service: Parameters<typeof rpcSocketPath>[1]) => `unix:${rpcSocketPath(host, service)}`;
  assert.deepEqual(readConfiguration(options(optionsOf(documented)), {}), {
    LOBSTERD_GRPC: addressOf("vm"),
    LOBSTERD_GRPC_NET: addressOf("net"),
    LOBSTERD_GRPC_PROXY: addressOf("proxy"),
    LOBSTERD_GRPC_SECRETS: addressOf("secrets"),
    LOBSTERD_GRPC_AUDIT: addressOf("audit"),
    LOBSTERD_DOMAIN: "tenants.example.org",
    LOBSTERD_CA: certificatePaths(host).platformCaPath,
    LOBSTERD_CERT: certificatePath,
    LOBSTERD_KEY: keyPath,
  });
});

test("a certificate that cannot be read is a fault of the configuration, not of a service", () => {
  const here = import.meta.filename;
  const addresses = readConfiguration(options({ ...optionsOf(file), ca: here, cert: here, key: here }), {});
  requireReadable(addresses);
  assert.throws(() => requireReadable({ ...addresses, LOBSTERD_KEY: "/nonexistent" }), /cannot read \/nonexistent/);
});

test("a file that is not there is a fault only when it was asked for; one with anything else in it always is", (t) => {
  const absent = { HOME: "/nonexistent" };
  assert.throws(() => readConfiguration(none, absent), /is missing/);
  assert.throws(
    () => readConfiguration(options({ config: "/nonexistent/x" }), absent),
    /cannot read the configuration/,
  );
  assert.throws(() => readConfiguration(none, { HOME: home(t, "{").HOME }), /is not JSON/);
  assert.throws(() => readConfiguration(none, { HOME: home(t, { ...file, extra: 1 }).HOME }), /extra/);
  assert.throws(() => readConfiguration(none, { HOME: home(t, { ...file, ca: 1 }).HOME }), /ca/);
  assert.throws(() => readConfiguration(none, { HOME: home(t, `"${"x".repeat(65_536)}"`).HOME }), /larger than 64 KiB/);
});
