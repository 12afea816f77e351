import { readFileSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { patience, type Scene, type Started } from "./scene.ts";
import { writeOwned } from "./scene-paths.ts";

/**
 * A second Caddy as an ACME authority at https://localhost:14000/acme/local/directory, which resolves `names` to this host to look at the
 * challenges. `rootPem` is the root of what it issues.
 */
export async function startAcmeAuthority(
  scene: Scene,
  names: readonly string[],
): Promise<Started & { readonly rootPem: string }> {
  const { acmeDirectory, acmeLeaf } = scene.paths;
  const routes = [{ handle: [{ handler: "acme_server", ca: "local" }] }];
  const server = { listen: ["127.0.0.1:14000"], automatic_https: { disable: true }, routes };
  const load = [{ certificate: acmeLeaf.certificatePath, key: acmeLeaf.keyPath }];
  const config = {
    admin: { disabled: true, config: { persist: false } },
    logging: { logs: { default: { level: "DEBUG" } } },
    storage: { module: "file_system", root: acmeDirectory },
    apps: {
      http: { servers: { acme: { ...server, tls_connection_policies: [{}] } } },
      pki: { certificate_authorities: { local: { install_trust: false } } },
      tls: { certificates: { load_files: load } },
    },
  };
  const [configPath, hostsPath] = [`${acmeDirectory}/config.json`, `${acmeDirectory}/hosts`];
  writeOwned(configPath, JSON.stringify(config), 0, 0o400);
  writeOwned(hostsPath, ["localhost", ...names].map((name) => `127.0.0.1 ${name}\n`).join(""), 0, 0o444);
  const started = scene.start([
    ...["unshare", "--mount", "--propagation", "private", "--", "sh", "-c"],
    'mount --bind "$0" /etc/hosts && exec "$@"',
    ...[hostsPath, "env", `HOME=${acmeDirectory}`, scene.caddyPath, "run", "--config", configPath],
  ]);
  await waitFor(
    "acme authority started",
    async () => started.output().includes("serving initial configuration") || undefined,
    patience,
  );
  return { ...started, rootPem: readFileSync(`${acmeDirectory}/pki/authorities/local/root.crt`, "utf8") };
}
