import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as secure } from "node:tls";
import { findBroker } from "@lobsterd/chassis/broker-fixture.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { freePort } from "@lobsterd/chassis/testing-free-port.ts";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { brokerConfiguration } from "./broker.ts";
import { type Credential, type LeafRequest, makeAuthority, makeLeaf } from "./certificates.ts";
import { certificatePaths, platformIdentities } from "./identities.ts";
import { describeInstance, innerPorts, serviceNames } from "./instance.ts";

/** A broker with the configuration that the runner writes, an authority of its own, and one more user who may do everything. */
export interface BrokerGround {
  readonly port: number;
  readonly platform: Credential;
  uriOf(name: string): string;
  /** Connects as `svc/vm`, `client/operator` or `svc/observer`, who sees what is delivered. */
  connectAs(name: string, more?: ConnectOptions): Promise<NatsConnection>;
  /** Makes the broker's leaf anew and tells it; the leaf's serial number. */
  renew(): Promise<string>;
  /** Serial number of the certificate that the broker shows. */
  shownSerial(): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface ConnectOptions {
  readonly authority?: Credential;
  readonly now?: Date;
}

/** Starts the broker, with each service's stream; `undefined` where nats-server cannot be had. `alter` changes its configuration first. */
export async function openBrokerGround(
  alter: (text: string) => string = (text) => text,
): Promise<BrokerGround | undefined> {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-broker-"));
  const program = findBroker(directory);
  if (program === undefined) {
    rmSync(directory, { recursive: true });
    return undefined;
  }
  const instance = { ...describeInstance("dev"), stateDir: directory };
  const paths = certificatePaths(instance);
  const uriOf = (name: string) => `spiffe://${instance.domain}/${name}`;
  const platform = await makeAuthority("test platform CA");
  mkdirSync(join(paths.root, "nats"), { recursive: true });
  writeFileSync(paths.platformCaPath, platform.certificatePem);

  const writeLeaf = async (): Promise<string> => {
    const own = platformIdentities(instance.domain).find((identity) => identity.directory === "nats");
    if (own === undefined) throw new Error("the broker has no identity");
    const leaf = await makeLeaf(platform, own.request);
    writeFileSync(paths.leaf("nats").certificatePath, leaf.certificatePem);
    writeFileSync(paths.leaf("nats").keyPath, leaf.keyPem, { mode: 0o600 });
    return new X509Certificate(leaf.certificatePem).serialNumber;
  };
  await writeLeaf();
  const port = await freePort();
  const text = brokerConfiguration(instance)
    .replace(`port: ${innerPorts.nats}`, `port: ${port}`)
    .replace("users: [", `users: [{"user":${JSON.stringify(uriOf("svc/observer"))}},`);
  writeFileSync(join(directory, "nats.conf"), alter(text));
  const broker = await startBroker(program, join(directory, "nats.conf"));

  const connectAs = async (name: string, { authority = platform, now = new Date() }: ConnectOptions = {}) => {
    const request: LeafRequest = { commonName: name, uri: uriOf(name), usages: ["client"] };
    const { certificatePem, keyPem } = await makeLeaf(authority, request, now);
    return await connect({
      servers: [`127.0.0.1:${port}`],
      inboxPrefix: `_INBOX_${name.split("/").at(-1)}`,
      reconnect: false,
      timeout: 5000,
      tls: { ca: platform.certificatePem, cert: certificatePem, key: keyPem },
    });
  };
  for (const name of serviceNames) await makeStream(await connectAs(`svc/${name}`), name);

  return {
    ...{ port, platform, uriOf, connectAs },
    async renew() {
      const serial = await writeLeaf();
      broker.kill("SIGHUP");
      return serial;
    },
    shownSerial: () => shownSerial(port),
    async close() {
      if (broker.exitCode === null) {
        const ended = once(broker, "exit");
        broker.kill("SIGKILL");
        await ended;
      }
      rmSync(directory, { recursive: true });
    },
  };
}

async function startBroker(program: string, configPath: string): Promise<ChildProcess> {
  const broker = spawn(program, ["--config", configPath], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  broker.stderr.on("data", (chunk: Buffer) => {
    log = (log + chunk.toString()).slice(-8192);
  });
  const ready = async () => (log.includes("Server is ready") ? true : undefined);
  await waitFor("broker ready", ready, { timeoutMs: 10_000, intervalMs: 20 });
  return broker;
}

async function makeStream(connection: NatsConnection, name: string): Promise<void> {
  const stream = `LOBSTERD_${name.toUpperCase()}`;
  const configuration = { name: stream, subjects: [`${name}.v1.>`], storage: "file", retention: "limits" };
  const answer = await connection.request(`$JS.API.STREAM.CREATE.${stream}`, JSON.stringify(configuration));
  const { error } = answer.json<{ error?: unknown }>();
  if (error !== undefined) throw new Error(`${stream} was not made`, { cause: error });
  await connection.close();
}

/** The broker asks for TLS in plain text first. */
async function shownSerial(port: number): Promise<string | undefined> {
  const plain = createConnection(port, "127.0.0.1");
  try {
    await once(plain, "data");
    const secured = secure({ socket: plain, rejectUnauthorized: false });
    secured.on("error", () => undefined);
    await once(secured, "secureConnect");
    return secured.getPeerX509Certificate()?.serialNumber;
  } finally {
    plain.destroy();
  }
}
