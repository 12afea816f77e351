import { z } from "zod";
import { brokerConfiguration } from "../dev/broker.ts";
import { type Configuration, configurations, instanceFiles } from "../dev/configuration.ts";
import { rolesOf } from "../dev/identities.ts";
import { innerPorts } from "../dev/instance.ts";
import type { Accounts } from "../dev/users.ts";
import { describeHost } from "./host-instance.ts";
import { rootKeyCredential } from "./units.ts";

/** What differs from host to host, as `configure` takes it. */
export const hostSettingsSchema = z.strictObject({
  domain: z
    .string()
    .regex(/^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,8}$/, "a domain in lower case, such as tenants.example.org")
    .describe("tenants answer at https://<tenant>.<domain>/"),
  uplinkInterface: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,15}$/)
    .describe("link that guests reach the outside through"),
  resolverAddresses: z.array(z.ipv4()).min(1).max(4).describe("the only DNS servers that guests reach"),
  // The kernel's connection table of deploy/host/sysctl.d has room for so many.
  slotCount: z.coerce.number().int().min(1).max(100).default(100).describe("microVMs that the host can hold"),
  acmeDirectory: z
    .url({ protocol: /^https$/ })
    .optional()
    .describe("ACME directory of the authority for the front's certificates; with acmeEmail"),
  acmeEmail: z.email().optional(),
});
export type HostSettings = Readonly<z.infer<typeof hostSettingsSchema>>;

/** Where a service's file is, whose it is, and its text. */
export interface ConfigurationFile {
  readonly name: string;
  readonly user: string;
  readonly mode: number;
  readonly text: string;
}

/**
 * The configurations of a host: those of the development stack, which the services' schemas check, with what is different
 * in production. Throws for an account that does not exist.
 */
export function hostConfigurations(settings: HostSettings, accounts: Accounts): ConfigurationFile[] {
  const instance = describeHost(settings.domain, settings.slotCount);
  const { vm, net, proxy, secrets, ...others } = configurations(instance, accounts);
  const { rootKey: _, ...vmRest } = { ...vm };
  const caddy = Object(proxy?.["caddy"]) as Configuration;
  const production: Record<string, Configuration> = {
    vm: { ...vmRest, mode: "production", defaultIdleMode: "after", publicHttpsPort: innerPorts.https },
    net: { ...net, uplinkInterface: settings.uplinkInterface, resolverAddresses: settings.resolverAddresses },
    proxy: { ...proxy, caddy: { ...caddy, publicHttpsPort: innerPorts.https, ...frontCertificates(settings) } },
    secrets: {
      ...secrets,
      mode: "production",
      rootKey: { kind: "systemd-credential", name: rootKeyCredential, shardsDir: instanceFiles(instance).shardsDir },
    },
    ...others,
    "vm-launcher": { ...others["vm-launcher"], vmm: { kind: "firecracker" } },
  };
  const owner = (name: string): string => (name === "vm-launcher" ? "root" : `lobsterd-${name}`);
  return [
    ...Object.entries(production).map(([name, value]) => ({ ...closed(name, owner(name)), text: jsonText(value) })),
    { ...closed("nats", owner("nats")), text: brokerConfiguration(instance) },
    { name: "roles.json", user: "root", mode: 0o644, text: jsonText(rolesOf(settings.domain)) },
  ];
}

function frontCertificates({ acmeDirectory, acmeEmail }: HostSettings): Configuration {
  if (acmeDirectory === undefined) return {};
  return { certificates: { kind: "acme", directoryUrl: acmeDirectory, email: acmeEmail } };
}

function closed(name: string, user: string): Omit<ConfigurationFile, "text"> {
  return { name: `${name}.json`, user, mode: 0o400 };
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
