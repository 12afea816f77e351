import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { waitFor } from "./lifecycle.ts";
import type { Ground } from "./server-fixture.ts";
import { freePort } from "./testing-free-port.ts";

const checkout = fileURLToPath(new URL("../../..", import.meta.url));

/** The broker's program: the checkout's cache, the system's, or one unpacked from the distribution's package. */
export function findBroker(directory: string): string | undefined {
  const known = [join(checkout, ".cache/debian/root/usr/sbin/nats-server"), "/usr/sbin/nats-server"];
  const found = known.find((path) => existsSync(path));
  if (found !== undefined) return found;
  const limits = { cwd: directory, timeout: 60_000 };
  if (spawnSync("apt-get", ["download", "-q", "nats-server"], limits).status !== 0) return undefined;
  const archive = spawnSync("sh", ["-c", 'dpkg-deb -x nats-server_*.deb "$1"', "unpack", directory], limits);
  return archive.status === 0 ? join(directory, "usr/sbin/nats-server") : undefined;
}

export interface TestBroker {
  readonly server: string;
  start(): Promise<void>;
  /** `kill -9`. */
  kill(): Promise<void>;
}

/** A broker with JetStream on a free loopback port that demands client certificates; the SPIFFE URI is the user. */
export async function makeBroker(ground: Ground, program: string): Promise<TestBroker> {
  const leaf = ground.ca.issue("nats", ["spiffe://test/svc/nats"]);
  const port = await freePort();
  const directory = join(ground.directory, "nats");
  mkdirSync(directory, { recursive: true });
  const configPath = join(directory, "nats.conf");
  const users = [permissions("audit", "vm"), permissions("vm", "audit")];
  writeFileSync(
    configPath,
    `listen: "127.0.0.1:${port}"
jetstream { store_dir: "${directory}", max_file_store: 256MB }
tls { cert_file: "${leaf.certificatePath}", key_file: "${leaf.keyPath}", ca_file: "${ground.ca.caPath}", verify_and_map: true }
accounts { LOBSTERD { jetstream: enabled, users: [ ${users.join(", ")} ] } }
`,
  );
  let child: ChildProcess | undefined;
  return {
    server: `127.0.0.1:${port}`,
    async start() {
      const started = spawn(program, ["--config", configPath], { stdio: ["ignore", "ignore", "pipe"] });
      child = started;
      let log = "";
      started.stderr.on("data", (chunk: Buffer) => {
        log = (log + chunk.toString()).slice(-8192);
      });
      await waitFor("broker ready", async () => (log.includes("Server is ready") ? true : undefined), {
        timeoutMs: 10_000,
        intervalMs: 20,
      });
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** What a service may do on the broker: its own stream and subjects, and consuming one other service's events. */
function permissions(service: string, consumes: string): string {
  const own = `LOBSTERD_${service.toUpperCase()}`;
  const other = `LOBSTERD_${consumes.toUpperCase()}`;
  const publish = [
    `${service}.v1.>`,
    `$JS.API.STREAM.CREATE.${own}`,
    `$JS.API.CONSUMER.CREATE.${other}.>`,
    `$JS.API.CONSUMER.DURABLE.CREATE.${other}.>`,
    `$JS.API.CONSUMER.INFO.${other}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${other}.>`,
    `$JS.ACK.${other}.>`,
  ];
  const list = publish.map((subject) => `"${subject}"`).join(", ");
  return `{ user: "spiffe://test/svc/${service}", permissions: { publish: { allow: [ ${list} ] }, subscribe: { allow: ["_INBOX_${service}.>"] } } }`;
}
