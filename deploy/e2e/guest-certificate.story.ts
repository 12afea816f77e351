import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectStack } from "../client/clients.ts";
import { makeLeaf } from "../dev/certificates.ts";
import { run } from "../dev/command.ts";
import { type CredentialPaths, certificatePaths } from "../dev/identities.ts";
import { describeInstance } from "../dev/instance.ts";
import { env, evict, instance, spawn } from "./subject.ts";

const tenantName = "certified";
const described = describeInstance(instance);
const paths = certificatePaths(described);
const directory = mkdtempSync(join(tmpdir(), "guest-leaf-"));
const leaves: CredentialPaths[] = [];

/** A leaf with a running guest's names, from the authority that signs guests, as the guest has it and with more than it has. */
async function guestLeaf(vmId: string, generation: number, usages: readonly ("server" | "client")[]) {
  const authority = {
    certificatePem: readFileSync(paths.guestCaPath, "utf8"),
    keyPem: readFileSync(paths.guestCaKeyPath, "utf8"),
  };
  const names = {
    uri: `spiffe://${env.LOBSTERD_DOMAIN}/guest/${tenantName}/${vmId}/${generation}`,
    dnsNames: [`${tenantName}.guest.internal`, `${tenantName}.${env.LOBSTERD_DOMAIN}`],
  };
  const leaf = await makeLeaf(authority, { commonName: `${tenantName}.guest.internal`, ...names, usages });
  const name = join(directory, usages.join("-"));
  writeFileSync(`${name}.pem`, leaf.certificatePem);
  writeFileSync(`${name}.key`, leaf.keyPem, { mode: 0o600 });
  return { certificatePath: `${name}.pem`, keyPath: `${name}.key` };
}

before(async () => {
  const { vmId, generation } = await spawn(tenantName);
  leaves.push(await guestLeaf(vmId, generation, ["server"]), await guestLeaf(vmId, generation, ["server", "client"]));
});
after(async () => {
  await evict(tenantName);
  rmSync(directory, { recursive: true });
});

/** One call to each of the five services that every operator may make. */
function callsWith({ certificatePath, keyPath }: CredentialPaths): Readonly<Record<string, () => Promise<unknown>>> {
  const clients = connectStack({ ...env, LOBSTERD_CERT: certificatePath, LOBSTERD_KEY: keyPath });
  return {
    vm: () => clients.tenants.listTenants({}),
    net: () => clients.net.listNetworks({}),
    proxy: () => clients.routes.listRoutes({}),
    secrets: () => clients.secrets.listSecrets({ tenant: tenantName }),
    audit: () => clients.audit.queryRecords({}),
  };
}

test("a guest's certificate is nobody's to each of the five services", async () => {
  const operator = { certificatePath: env.LOBSTERD_CERT, keyPath: env.LOBSTERD_KEY };
  for (const [service, call] of Object.entries(callsWith(operator))) {
    await assert.doesNotReject(call, `${service} answers an operator`);
  }
  for (const leaf of leaves) {
    for (const [service, call] of Object.entries(callsWith(leaf))) {
      await assert.rejects(
        call,
        (error) => ConnectError.from(error).code === Code.Unauthenticated,
        `${service} took a guest for somebody`,
      );
    }
  }
});

test("a guest's certificate opens no connection to the broker", async () => {
  const probe = fileURLToPath(new URL("../dev/broker-probe.fixture.ts", import.meta.url));
  const publish = async ({ certificatePath, keyPath }: CredentialPaths, subject: string) => {
    const program = [process.execPath, probe, paths.platformCaPath, certificatePath, keyPath, "publish", subject];
    return (await run(["nsenter", `--net=${described.netnsPath}`, "--", ...program])).stdout;
  };
  assert.equal(await publish(paths.leaf("vm"), `vm.v1.${tenantName}.probed`), "ok", "vm may");
  for (const leaf of leaves) assert.notEqual(await publish(leaf, `vm.v1.${tenantName}.probed`), "ok");
});
