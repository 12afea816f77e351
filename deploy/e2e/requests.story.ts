import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { create, type DescMessage, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import * as grpc from "@grpc/grpc-js";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import {
  EvictTenantRequestSchema,
  SpawnTenantRequestSchema,
  type SpawnTenantResponse,
  TenantService,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { assertUnchangedSince, clients, env, evict, settledInventory } from "./subject.ts";

const run = promisify(execFile);
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
});

after(async () => {
  for (const name of ["twice", "outside", "curl"]) await evict(name);
});

/** Runs `buf curl` against `vm` as an operator would run grpcurl. */
async function curl(...args: string[]): Promise<string> {
  const tls = ["--cacert", env.LOBSTERD_CA, "--cert", env.LOBSTERD_CERT, "--key", env.LOBSTERD_KEY];
  const { stdout } = await run("buf", ["curl", "--protocol", "grpc", ...tls, ...args], { timeout: 120_000 });
  return stdout;
}

const vm = `https://${env.LOBSTERD_GRPC}`;
const method = (name: string) => `${vm}/lobsterd.vm.v1.TenantService/${name}`;

test("an operator lists services by reflection and manages a tenant from the command line", async () => {
  const services = (await curl("--list-services", vm)).trim().split("\n");
  assert.ok(services.includes("lobsterd.vm.v1.TenantService") && services.includes("lobsterd.vm.v1.HostService"));
  const wish = JSON.stringify({ requestId: randomUUID(), name: "curl" });
  assert.match(await curl("-d", wish, method("SpawnTenant")), /TENANT_STATE_RUNNING/);
  assert.match(await curl("-d", '{"name":"curl"}', method("GetTenant")), /TENANT_STATE_RUNNING/);
  assert.match(await curl("-d", "{}", method("ListTenants")), /"curl"/);
  await curl("-d", JSON.stringify({ requestId: randomUUID(), name: "curl" }), method("EvictTenant"));
  await assert.rejects(curl("-d", '{"name":"curl"}', method("GetTenant")), /not_found/i);
});

test("the same request twice, at once or later, gives one tenant", async () => {
  const wish = { requestId: randomUUID(), name: "twice" };
  const [first, second] = await Promise.all([clients.tenants.spawnTenant(wish), clients.tenants.spawnTenant(wish)]);
  const third = await clients.tenants.spawnTenant(wish);
  assert.equal(first.tenant?.vmId, second.tenant?.vmId);
  assert.equal(first.tenant?.vmId, third.tenant?.vmId);
  const other = clients.tenants.spawnTenant({ ...wish, name: "other" });
  await assert.rejects(other, (error) => reasonOf(error) === "REQUEST_ID_REUSED");
  const taken = clients.tenants.spawnTenant({ requestId: randomUUID(), name: "twice" });
  await assert.rejects(taken, (error) => {
    assert.equal(ConnectError.from(error).code, Code.AlreadyExists);
    return reasonOf(error) === "TENANT_EXISTS";
  });
  await evict("twice");
});

const badRequests: readonly { readonly what: string; readonly field: string; readonly wish: object }[] = [
  { what: "an upper-case name", field: "name", wish: { name: "Demo" } },
  { what: "an empty name", field: "name", wish: { name: "" } },
  { what: "a name of 41 characters", field: "name", wish: { name: "a".repeat(41) } },
  { what: "a name that ends in a dash", field: "name", wish: { name: "demo-" } },
  { what: "a name with a path in it", field: "name", wish: { name: "../demo" } },
  { what: "an unknown image", field: "image", wish: { name: "demo", image: "none" } },
  { what: "too little memory", field: "resources.memory_mib", wish: { name: "demo", resources: { memoryMib: 1 } } },
  { what: "too much memory", field: "resources.memory_mib", wish: { name: "demo", resources: { memoryMib: 65_000 } } },
  { what: "too many vCPUs", field: "resources.vcpu_count", wish: { name: "demo", resources: { vcpuCount: 33 } } },
  { what: "a tiny disk", field: "resources.disk_mib", wish: { name: "demo", resources: { diskMib: 1 } } },
  { what: "no request id", field: "request_id", wish: { name: "demo", requestId: "" } },
];

for (const { what, field, wish } of badRequests) {
  test(`${what} is INVALID_ARGUMENT naming the field ${field}, and nothing happens`, async () => {
    const call = clients.tenants.spawnTenant({ requestId: randomUUID(), ...wish });
    await assert.rejects(call, (thrown) => {
      const error = ConnectError.from(thrown);
      assert.equal(error.code, Code.InvalidArgument, error.message);
      const [info] = error.findDetails(ErrorInfoSchema);
      assert.ok(info !== undefined && info.reason !== "" && info.domain === "vm.lobsterd", JSON.stringify(info));
      assert.equal(info.metadata["field"], field);
      return true;
    });
    const { tenants } = await clients.tenants.listTenants({});
    assert.deepEqual(tenants, []);
  });
}

/** Sends headers and a body that never ends; resolves with the gRPC status of the answer. */
function refusalOf(target: string, path: string, files?: { cert: string; key: string }): Promise<string> {
  const certificate = files === undefined ? {} : { cert: readFileSync(files.cert), key: readFileSync(files.key) };
  return new Promise((resolve, reject) => {
    const session = connect(`https://${target}`, { ca: readFileSync(env.LOBSTERD_CA), ...certificate });
    session.setTimeout(5000, () => session.destroy(new Error("no answer before the body ended")));
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const finish = (headers: Record<string, unknown>) => {
      const status = headers["grpc-status"];
      if (status === undefined) return;
      resolve(String(status));
      session.destroy();
    };
    stream.on("response", finish);
    stream.on("trailers", finish);
    stream.on("error", reject);
    // One byte of a message that is never completed: whoever waits for the body waits for ever.
    stream.write(Buffer.from([0]));
  });
}

const targets = [
  ["vm", env.LOBSTERD_GRPC, "/lobsterd.vm.v1.TenantService/ListTenants"],
  ["vm", env.LOBSTERD_GRPC, "/lobsterd.vm.v1.TenantService/SpawnTenant"],
  ["net", env.LOBSTERD_GRPC_NET, "/lobsterd.net.v1.NetworkService/AttachNetwork"],
  ["proxy", env.LOBSTERD_GRPC_PROXY, "/lobsterd.proxy.v1.RouteService/PublishRoute"],
  ["secrets", env.LOBSTERD_GRPC_SECRETS, "/lobsterd.secrets.v1.SecretService/PutSecret"],
  ["audit", env.LOBSTERD_GRPC_AUDIT, "/lobsterd.audit.v1.AuditService/AppendRecord"],
  ["vm", env.LOBSTERD_GRPC, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"],
  ["vm", env.LOBSTERD_GRPC, "/grpc.health.v1.Health/Check"],
] as const;
const clientFiles = dirname(env.LOBSTERD_CERT);

for (const [service, target, path] of targets) {
  test(`${service} refuses ${path} before its body is read: no certificate, and a certificate without a role`, async () => {
    assert.equal(await refusalOf(target, path), "16", "UNAUTHENTICATED without a certificate");
    const stranger = { cert: join(clientFiles, "stranger.pem"), key: join(clientFiles, "stranger-key.pem") };
    assert.equal(await refusalOf(target, path, stranger), "7", "PERMISSION_DENIED without a role");
  });
}

test("a method that there is not is UNIMPLEMENTED to an operator, and to a stranger refused like any other", async () => {
  const path = "/lobsterd.vm.v1.TenantService/NoSuchMethod";
  assert.equal(await refusalOf(env.LOBSTERD_GRPC, path, { cert: env.LOBSTERD_CERT, key: env.LOBSTERD_KEY }), "12");
  const stranger = { cert: join(clientFiles, "stranger.pem"), key: join(clientFiles, "stranger-key.pem") };
  assert.equal(await refusalOf(env.LOBSTERD_GRPC, path, stranger), "7");
});

test("a viewer may look and not touch", async () => {
  const viewer = { cert: join(clientFiles, "viewer.pem"), key: join(clientFiles, "viewer-key.pem") };
  assert.equal(await refusalOf(env.LOBSTERD_GRPC, "/lobsterd.vm.v1.TenantService/SpawnTenant", viewer), "7");
  const tls = ["--cacert", env.LOBSTERD_CA, "--cert", viewer.cert, "--key", viewer.key, "--protocol", "grpc"];
  await run("buf", ["curl", ...tls, "-d", "{}", method("ListTenants")], { timeout: 30_000 });
});

/** The definition that grpc-js needs, as a program outside this repository would have it generated. */
const definition: grpc.ServiceDefinition = Object.fromEntries(
  TenantService.methods.map((rpc) => {
    const serialize = (schema: DescMessage) => (value: unknown) => {
      if (!isMessage(value, schema)) throw new TypeError(`not a ${schema.typeName}`);
      return Buffer.from(toBinary(schema, value));
    };
    const method: grpc.MethodDefinition<unknown, unknown> = {
      path: `/${TenantService.typeName}/${rpc.name}`,
      requestStream: rpc.methodKind === "client_streaming" || rpc.methodKind === "bidi_streaming",
      responseStream: rpc.methodKind === "server_streaming" || rpc.methodKind === "bidi_streaming",
      requestSerialize: serialize(rpc.input),
      requestDeserialize: (bytes) => fromBinary(rpc.input, bytes),
      responseSerialize: serialize(rpc.output),
      responseDeserialize: (bytes) => fromBinary(rpc.output, bytes),
    };
    return [rpc.localName, method];
  }),
);

test("a grpc-js client with a retry policy spawns and evicts a tenant", async () => {
  const OutsideClient = grpc.makeGenericClientConstructor(definition, "TenantService");
  const credentials = grpc.credentials.createSsl(
    readFileSync(env.LOBSTERD_CA),
    readFileSync(env.LOBSTERD_KEY),
    readFileSync(env.LOBSTERD_CERT),
  );
  const retryPolicy = {
    maxAttempts: 4,
    initialBackoff: "0.1s",
    maxBackoff: "1s",
    backoffMultiplier: 2,
    retryableStatusCodes: ["UNAVAILABLE"],
  };
  const serviceConfig = { methodConfig: [{ name: [{ service: TenantService.typeName }], retryPolicy }] };
  const client = new OutsideClient(env.LOBSTERD_GRPC, credentials, {
    "grpc.service_config": JSON.stringify(serviceConfig),
  });
  const call = <T>(name: string, request: unknown) =>
    new Promise<T>((resolve, reject) => {
      const send: unknown = client[name];
      if (typeof send !== "function") throw new Error(`no method ${name}`);
      const deadline = Date.now() + 120_000;
      send.call(client, request, new grpc.Metadata(), { deadline }, (error: grpc.ServiceError | null, answer: T) =>
        error === null ? resolve(answer) : reject(error),
      );
    });
  const spawned = await call<SpawnTenantResponse>(
    "spawnTenant",
    create(SpawnTenantRequestSchema, { requestId: randomUUID(), name: "outside" }),
  );
  assert.equal(spawned.tenant?.name, "outside");
  await call("evictTenant", create(EvictTenantRequestSchema, { requestId: randomUUID(), name: "outside" }));
  client.close();
});

test("after all of this the host is as it was", async () => {
  await assertUnchangedSince(inventory);
});
