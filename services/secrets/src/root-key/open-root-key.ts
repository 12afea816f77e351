import { lookUpEnvironment } from "@lobsterd/chassis/environment.ts";
import type { RootKeyConfig } from "../config.ts";
import { credentialRootKeys } from "./credential-source.ts";
import { environmentRootKeys } from "./environment-source.ts";
import { fileRootKeys } from "./file-source.ts";
import { localRootKey } from "./local-provider.ts";
import type { RootKeyProvider } from "./provider.ts";
import { openTenantShards } from "./tenant-shards.ts";
import { openVaultClient } from "./vault-client.ts";
import { vaultRootKey } from "./vault-provider.ts";

/** The provider that the configuration names. Touches nothing yet: `health` tells whether it can be used. */
export function openRootKey(config: RootKeyConfig): RootKeyProvider {
  if (config.kind === "vault-transit") {
    return vaultRootKey(openVaultClient(config), { mount: config.mount, keyName: config.keyName });
  }
  const shards = openTenantShards(config.shardsDir);
  switch (config.kind) {
    case "file":
      return localRootKey(fileRootKeys(config.path), shards);
    case "systemd-credential":
      return localRootKey(credentialRootKeys(lookUpEnvironment("CREDENTIALS_DIRECTORY"), config.name), shards);
    case "environment":
      return localRootKey(environmentRootKeys(lookUpEnvironment, config.variable), shards);
  }
}
