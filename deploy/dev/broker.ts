import { createHash } from "node:crypto";
import { certificatePaths } from "./identities.ts";
import { type Instance, innerPorts, type ServiceName, serviceNames } from "./instance.ts";

/**
 * Which service reads which events. The broker refuses any other consumer, so a service that begins to subscribe has its
 * filter added here.
 */
export const subscriptions: Readonly<Record<ServiceName, readonly string[]>> = {
  vm: [],
  net: [],
  proxy: [],
  secrets: [],
  audit: [],
};

/**
 * Configuration of the NATS server. The certificate's SPIFFE URI is the user; nobody else may connect. A service may make its
 * own stream, publish its own events, and read through its own consumers; everything else is refused. That does not make an event genuine:
 * a stream's own configuration can have the broker republish to any subject, so a consumer believes none (chassis/events.ts, 1).
 */
export function brokerConfiguration(instance: Instance): string {
  const paths = certificatePaths(instance);
  const { certificatePath, keyPath } = paths.leaf("nats");
  const users = serviceNames.map((name) => userOf(instance.domain, name));
  return `# NATS accepts JSON values; only the outer lines are its own syntax.
host: "127.0.0.1"
port: ${innerPorts.nats}
server_name: ${JSON.stringify(instance.netns)}
max_payload: 65536
max_connections: 64
max_subscriptions: 256
jetstream {
  store_dir: ${JSON.stringify(`${instance.stateDir}/nats`)}
  max_memory_store: 67108864
  max_file_store: 536870912
}
tls {
  cert_file: ${JSON.stringify(certificatePath)}
  key_file: ${JSON.stringify(keyPath)}
  ca_file: ${JSON.stringify(paths.platformCaPath)}
  verify_and_map: true
  timeout: 5
}
accounts {
  LOBSTERD {
    jetstream: enabled
    users: ${JSON.stringify(users)}
  }
}
`;
}

interface BrokerUser {
  readonly user: string;
  readonly permissions: {
    readonly publish: { readonly allow: string[] };
    readonly subscribe: { readonly allow: string[] };
  };
}

function userOf(domain: string, name: ServiceName): BrokerUser {
  return {
    user: `spiffe://${domain}/svc/${name}`,
    permissions: {
      publish: {
        allow: [
          `${name}.v1.>`,
          `$JS.API.STREAM.CREATE.${streamOf(name)}`,
          ...subscriptions[name].flatMap((filter) => consumerSubjects(name, filter)),
        ],
      },
      // An inbox of its own: with a shared one a service could read the answers meant for another.
      subscribe: { allow: [`_INBOX_${name}.>`] },
    },
  };
}

/** What a durable pull consumer needs. Its name is the chassis' choice: service and digest of the filter. */
export function consumerSubjects(name: ServiceName, filter: string): string[] {
  const stream = streamOf(filter.split(".", 1)[0] ?? "");
  const durable = `${name}-${createHash("sha256").update(filter).digest("hex").slice(0, 12)}`;
  return [
    `$JS.API.CONSUMER.CREATE.${stream}.${durable}.${filter}`,
    `$JS.API.CONSUMER.INFO.${stream}.${durable}`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`,
    `$JS.ACK.${stream}.${durable}.>`,
  ];
}

/** The stream of a service's events, as the chassis names it. */
function streamOf(service: string): string {
  return `LOBSTERD_${service.toUpperCase()}`;
}
