import assert from "node:assert/strict";
import { randomUUID, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Code, ConnectError } from "@connectrpc/connect";
import type { IssuedClient } from "@lobsterd/chassis/client-list.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { ClientRole } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { connectStack, type StackClients } from "../client/clients.ts";
import { type LeafRequest, makeLeaf } from "../dev/certificates.ts";
import { run } from "../dev/command.ts";
import { instanceFiles } from "../dev/configuration.ts";
import { type CredentialPaths, certificatePaths } from "../dev/identities.ts";
import { describeInstance } from "../dev/instance.ts";
import { clients, env, eventually, evict, instance } from "./subject.ts";

const tenantName = "certified";
const described = describeInstance(instance);
const paths = certificatePaths(described);
const directory = mkdtempSync(join(tmpdir(), "guest-leaf-"));
const leaves: CredentialPaths[] = [];
let vmId = "";
const forged: Record<string, IssuedClient> = {};

/** A leaf of the authority in these files, in files of its own. */
async function leafFiles(
  authority: CredentialPaths,
  file: string,
  request: LeafRequest,
): Promise<CredentialPaths & { readonly certificatePem: string }> {
  const [certificate, key] = [authority.certificatePath, authority.keyPath].map((path) => readFileSync(path, "utf8"));
  const leaf = await makeLeaf({ certificatePem: certificate ?? "", keyPem: key ?? "" }, request);
  const name = join(directory, file);
  writeFileSync(`${name}.pem`, leaf.certificatePem);
  writeFileSync(`${name}.key`, leaf.keyPem, { mode: 0o600 });
  return { certificatePath: `${name}.pem`, keyPath: `${name}.key`, certificatePem: leaf.certificatePem };
}

/** A leaf with a running guest's names, from the authority that signs guests, as the guest has it and with more than it has. */
async function guestLeaf(vmId: string, generation: number, usages: readonly ("server" | "client")[]) {
  const authority = { certificatePath: paths.guestCaPath, keyPath: paths.guestCaKeyPath };
  return await leafFiles(authority, usages.join("-"), {
    commonName: `${tenantName}.guest.internal`,
    uri: `spiffe://${env.LOBSTERD_DOMAIN}/guest/${tenantName}/${vmId}/${generation}`,
    dnsNames: [`${tenantName}.guest.internal`, `${tenantName}.${env.LOBSTERD_DOMAIN}`],
    usages,
  });
}

/** A leaf that whoever has taken `secrets` over signs with the key of the clients' authority, and writes into its list. */
async function clientLeaf(path: string, role: IssuedClient["role"] = "owner"): Promise<CredentialPaths> {
  const authority = { certificatePath: paths.clientsCaPath, keyPath: paths.clientsCaKeyPath };
  const uri = `spiffe://${env.LOBSTERD_DOMAIN}/${path}`;
  const request = { commonName: path, uri, usages: ["server", "client"] } as const;
  const leaf = await leafFiles(authority, path.replaceAll("/", "-"), request);
  const { serialNumber, validToDate } = new X509Certificate(leaf.certificatePem);
  forged[serialNumber] = { uri, role, expireTime: validToDate.toISOString() };
  return leaf;
}

before(async () => {
  const request = { requestId: randomUUID(), name: tenantName, image: "base", owner: "ida" };
  const { tenant } = await clients.tenants.spawnTenant(request);
  assert.ok(tenant !== undefined);
  const { generation } = tenant;
  ({ vmId } = tenant);
  leaves.push(await guestLeaf(vmId, generation, ["server"]), await guestLeaf(vmId, generation, ["server", "client"]));
});
after(async () => {
  await evict(tenantName);
  rmSync(directory, { recursive: true });
});

/** One call to each of the five services that every operator may make. */
function callsWith({ certificatePath, keyPath }: CredentialPaths): Readonly<Record<string, () => Promise<unknown>>> {
  return callsOf(connectStack({ ...env, LOBSTERD_CERT: certificatePath, LOBSTERD_KEY: keyPath }));
}

function callsOf(stack: StackClients): Readonly<Record<string, () => Promise<unknown>>> {
  return {
    vm: () => stack.tenants.listTenants({}),
    net: () => stack.net.listNetworks({}),
    proxy: () => stack.routes.listRoutes({}),
    secrets: () => stack.secrets.listSecrets({ tenant: tenantName }),
    audit: () => stack.audit.queryRecords({}),
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

/** What the broker says to a publication of `vm` under a certificate. */
async function publish({ certificatePath, keyPath }: CredentialPaths): Promise<string> {
  const program = [
    fixture("../dev/broker-probe.fixture.ts"),
    paths.platformCaPath,
    certificatePath,
    keyPath,
    "publish",
  ];
  return inNamespace([...program, `vm.v1.${tenantName}.probed`]);
}

const fixture = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const inNamespace = async (program: readonly string[]) =>
  (await run(["nsenter", `--net=${described.netnsPath}`, "--", process.execPath, ...program])).stdout;

test("a guest's certificate opens no connection to the broker", async () => {
  assert.equal(await publish(paths.leaf("vm")), "ok", "vm may");
  for (const leaf of leaves) assert.notEqual(await publish(leaf), "ok");
});

test("a client that an operator issued by RPC works with its own tenant and no other, until it is revoked", async () => {
  const out = join(directory, "ida");
  const lobster = (...words: string[]) =>
    run([process.execPath, fixture("../cli/main.ts"), ...words], { environment: { ...env } });
  await lobster("client", "issue", "ida", "--role", "owner", "--out", out);
  const leaf = { LOBSTERD_CERT: join(out, "certificate.pem"), LOBSTERD_KEY: join(out, "key.pem") };
  const ida = connectStack({ ...env, ...leaf, LOBSTERD_CA: join(out, "ca.pem") });
  // Each service looks at the list once a second.
  for (const [service, call] of Object.entries(callsOf(ida)))
    await eventually(`${service} knows the certificate`, 5000, async () =>
      (await refusal(call())) === "CERTIFICATE_REVOKED" ? undefined : true,
    );
  assert.deepEqual(
    (await ida.tenants.listTenants({})).tenants.map(({ name }) => name),
    [tenantName],
  );
  assert.equal(await refusal(ida.tenants.getTenant({ name: "somebody-elses" })), "TENANT_NOT_FOUND");
  assert.equal(await refusal(ida.secrets.listSecrets({ tenant: "somebody-elses" })), "TENANT_NOT_FOUND");
  await ida.secrets.listSecrets({ tenant: tenantName });
  for (const call of [
    () => ida.host.getHost({}),
    () => ida.net.listNetworks({}),
    () => ida.routes.listRoutes({}),
    () => ida.audit.queryRecords({}),
  ])
    assert.equal(await refusal(call()), "NOT_ALLOWED");
  const own = { requestId: randomUUID(), name: "eve", role: ClientRole.OWNER, csrPem: "-", lifetimeDays: 0 };
  assert.equal(await refusal(ida.clientCertificates.issueClientCertificate(own)), "NOT_ALLOWED");

  const watching = (async () => {
    for await (const _ of ida.tenants.watchTenants({}));
  })().then(
    () => "ended",
    () => "cut",
  );
  await lobster("client", "revoke", "ida");
  const since = performance.now();
  for (const call of Object.values(callsOf(ida)))
    await eventually("a refusal", 5000, async () =>
      (await refusal(call())) === "CERTIFICATE_REVOKED" ? true : undefined,
    );
  assert.equal(await Promise.race([watching, delay(5000, "still there", { ref: false })]), "cut");
  assert.ok(performance.now() - since < 5000);
});

test("whoever has taken secrets over is no operator, no service and nobody of root's: to no service, guest or broker", async () => {
  const { clientListPath } = instanceFiles(described);
  const known = readFileSync(clientListPath, "utf8");
  const address =
    (await clients.net.listNetworks({})).networks.find((network) => network.vmId === vmId)?.guestAddress ?? "";
  const health = ({ certificatePath, keyPath }: CredentialPaths) =>
    inNamespace([fixture("./guest-probe.fixture.ts"), address, certificatePath, keyPath]);
  assert.equal(await health(paths.leaf("vm")), "answered", "vm is answered by the guest");
  const names = ["svc/vm", "svc/secrets", "svc/host", "client/operator", "client/viewer"];
  const taken = await Promise.all(names.map((path) => clientLeaf(path)));
  const allowed = await clientLeaf("client/forged", "viewer");
  // In place, as its own user could: the services take what they find.
  writeFileSync(clientListPath, JSON.stringify(forged));
  try {
    // The one thing that it can be shows that the list is in force.
    for (const [service, call] of Object.entries(callsWith(allowed)))
      await eventually(`${service} knows the list`, 5000, () => call());
    for (const leaf of taken) {
      for (const [service, call] of Object.entries(callsWith(leaf)))
        assert.equal(await refusal(call()), "NOT_ALLOWED", `${service} took ${leaf.certificatePath} for somebody`);
    }
    for (const leaf of [...taken, allowed]) {
      assert.notEqual(await publish(leaf), "ok");
      assert.notEqual(await health(leaf), "answered", `the guest took ${leaf.certificatePath} for somebody`);
    }
  } finally {
    writeFileSync(clientListPath, known);
  }
});

async function refusal(call: Promise<unknown>): Promise<string | undefined> {
  return await call.then(
    () => undefined,
    (error: unknown) => reasonOf(ConnectError.from(error)) ?? String(error),
  );
}
