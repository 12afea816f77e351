import { certificatePaths } from "./identities.ts";
import { type Instance, innerPorts, type ServiceName, serviceNames } from "./instance.ts";

/** The stream that holds every service's events; the chassis creates it. */
export const eventStream = "events";

/**
 * Configuration of the NATS server. The certificate's SPIFFE URI is the user; nobody else may connect. A service may
 * publish its own events, read everyone's by consumers that carry its own name, and acknowledge what those got.
 */
export function brokerConfiguration(instance: Instance): string {
  const paths = certificatePaths(instance);
  const { certificatePath, keyPath } = paths.leaf("nats");
  const users = serviceNames.map((name) => userOf(instance.domain, name));
  return `# NATS accepts JSON values; only the outer lines are its own syntax.
host: "127.0.0.1"
port: ${innerPorts.nats}
server_name: ${JSON.stringify(instance.netns)}
max_payload: 262144
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
  const stream = eventStream;
  return {
    user: `spiffe://${domain}/svc/${name}`,
    permissions: {
      publish: {
        allow: [
          `${name}.v1.>`,
          "$JS.API.INFO",
          // Whichever service comes first makes the stream; the name is the only one that may be made.
          `$JS.API.STREAM.CREATE.${stream}`,
          `$JS.API.STREAM.UPDATE.${stream}`,
          `$JS.API.STREAM.INFO.${stream}`,
          "$JS.API.STREAM.NAMES",
          `$JS.API.CONSUMER.CREATE.${stream}.${name}`,
          `$JS.API.CONSUMER.CREATE.${stream}.${name}.>`,
          `$JS.API.CONSUMER.DURABLE.CREATE.${stream}.${name}`,
          `$JS.API.CONSUMER.INFO.${stream}.${name}`,
          `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`,
          `$JS.ACK.${stream}.${name}.>`,
        ],
      },
      // An inbox of its own: with a shared one a service could read the answers meant for another.
      subscribe: { allow: [`_INBOX_${name}.>`] },
    },
  };
}
