import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { renameSync } from "node:fs";
import { after, before, test } from "node:test";
import { reasonFrom } from "../testing/guests.ts";
import { type CallerName, type RunningService, runningService } from "../testing/running-service.ts";

let service: RunningService;
before(async () => {
  service = await runningService();
});
after(async () => await service.close());

const put = (tenant: string, name: string, value: string | Buffer, requestId = randomUUID()) =>
  service.as("operator").putSecret({ requestId, tenant, name, value: { value: Buffer.from(value) } });
const file = { target: { case: "file", value: {} } } as const;
const vmId = "0123456789abcdef0123456789abcdef";

test("put, bind and list: versions count from 1, a value is in no answer", async () => {
  const first = await put("lists", "api-key", "one");
  assert.equal(first.secret?.version, 1);
  assert.equal(first.secret.target, undefined);
  const second = await put("lists", "api-key", "two");
  assert.equal(second.secret?.version, 2);
  assert.deepEqual(second.secret.createTime, first.secret.createTime);
  const bound = await service
    .as("operator")
    .bindSecret({ requestId: randomUUID(), tenant: "lists", name: "api-key", target: file });
  assert.equal(bound.secret?.target?.target.case, "file");
  assert.equal((await put("lists", "api-key", "three")).secret?.target?.target.case, "file");
  await put("lists", "b", "x");
  await put("lists", "c", "x");
  const viewer = service.as("viewer");
  const one = await viewer.listSecrets({ tenant: "lists", page: { pageSize: 2 } });
  assert.deepEqual(
    one.secrets.map(({ name, version }) => [name, version]),
    [
      ["api-key", 3],
      ["b", 1],
    ],
  );
  const pageToken = one.page?.nextPageToken ?? "";
  const two = await viewer.listSecrets({ tenant: "lists", page: { pageSize: 2, pageToken } });
  assert.deepEqual(
    two.secrets.map(({ name }) => name),
    ["c"],
  );
  assert.equal(two.page?.nextPageToken, "");
  assert.deepEqual((await viewer.listSecrets({ tenant: "list" })).secrets, []);
});

test("the same request_id is one version; with another value it is refused", async () => {
  const requestId = randomUUID();
  const answers = await Promise.all([1, 2, 3].map(() => put("repeats", "k", "value", requestId)));
  assert.deepEqual(
    answers.map(({ secret }) => secret?.version),
    [1, 1, 1],
  );
  assert.equal(await reasonFrom(put("repeats", "k", "other value", requestId)), "REQUEST_ID_REUSED");
  assert.equal(await reasonFrom(put("repeats", "other", "value", requestId)), "REQUEST_ID_REUSED");
  await service.restart();
  assert.equal((await put("repeats", "k", "value", requestId)).secret?.version, 1);
});

test("50 parallel puts of one secret are versions 1 to 50", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => put("busy", "k", `value ${index}`)));
  const versions = answers.map(({ secret }) => secret?.version ?? 0).sort((one, other) => one - other);
  assert.deepEqual(
    versions,
    Array.from({ length: 50 }, (_, index) => index + 1),
  );
});

test("a tenant has at most 64 secrets, 63 of them bound, and a bounded number of bytes", async () => {
  for (let index = 0; index < 64; index += 1) await put("full", `s${index}`, "x");
  assert.equal(await reasonFrom(put("full", "one-more", "x")), "SECRET_LIMIT");
  assert.equal(await reasonFrom(put("full", "s1", "y")), "OK");
  const bind = (name: string) =>
    service.as("operator").bindSecret({ requestId: randomUUID(), tenant: "full", name, target: file });
  for (let index = 0; index < 63; index += 1) await bind(`s${index}`);
  assert.equal(await reasonFrom(bind("s63")), "SECRET_LIMIT");
  assert.equal(await reasonFrom(bind("s0")), "OK");
  for (let index = 0; index < 14; index += 1) await put("large", `s${index}`, Buffer.alloc(65_536, 1));
  assert.equal(await reasonFrom(put("large", "last", Buffer.alloc(65_536, 1))), "SECRET_SIZE_LIMIT");
});

test("reserved names and places, unknown secrets and values that do not fit are refused with their reason", async () => {
  const operator = service.as("operator");
  const bind = (name: string, target: Parameters<typeof operator.bindSecret>[0]["target"]) =>
    reasonFrom(operator.bindSecret({ requestId: randomUUID(), tenant: "names", name, ...(target && { target }) }));
  await put("names", "k", "x");
  assert.equal(await reasonFrom(put("names", "gateway-token", "x")), "RESERVED_NAME");
  assert.equal(await bind("gateway-token", file), "RESERVED_NAME");
  assert.equal(await bind("absent", file), "SECRET_NOT_FOUND");
  const environment = (variable: string) => ({ target: { case: "environment", value: { variable } } }) as const;
  const configuration = (pointer: string) => ({ target: { case: "configuration", value: { pointer } } }) as const;
  for (const variable of ["PATH", "HOME", "NODE_OPTIONS", "LD_PRELOAD"]) {
    assert.equal(await bind("k", environment(variable)), "TARGET_RESERVED");
  }
  for (const pointer of ["/tenant", "/vmId/x", "/generation", "/__proto__/x", "/a/constructor"]) {
    assert.equal(await bind("k", configuration(pointer)), "TARGET_RESERVED");
  }
  assert.equal(await bind("k", environment("lower")), "INVALID_FIELD");
  assert.equal(await bind("k", configuration("no-slash")), "INVALID_FIELD");
  await put("names", "binary", Buffer.of(0xff, 0xfe));
  await put("names", "nul", Buffer.from("a\0b"));
  for (const name of ["binary", "nul"]) {
    assert.equal(await bind(name, environment("K")), "VALUE_NOT_TEXT");
    assert.equal(await bind(name, configuration("/k")), "VALUE_NOT_TEXT");
    assert.equal(await bind(name, file), "OK");
  }
  assert.equal(await bind("k", environment("K")), "OK");
  assert.equal(await reasonFrom(put("names", "k", Buffer.of(0xff))), "VALUE_NOT_TEXT");
  await put("names", "l", "x");
  assert.equal(await bind("l", environment("K")), "TARGET_TAKEN");
  assert.equal(await bind("k", configuration("/a/b")), "OK");
  assert.equal(await bind("l", configuration("/a/b/c")), "TARGET_TAKEN");
  assert.equal(await bind("l", configuration("/a")), "TARGET_TAKEN");
  assert.equal(await bind("l", configuration("/ab")), "OK");
  assert.equal(await bind("k", undefined), "INVALID_FIELD");
  assert.equal(await reasonFrom(put("names", "k", "")), "INVALID_FIELD");
  assert.equal(await reasonFrom(put("names", "k", Buffer.alloc(65_537))), "INVALID_FIELD");
  const remove = (name: string) =>
    reasonFrom(operator.deleteSecret({ requestId: randomUUID(), tenant: "names", name }));
  assert.equal(await remove("absent"), "SECRET_NOT_FOUND");
  assert.equal(await remove("k"), "OK");
  assert.equal(await remove("k"), "SECRET_NOT_FOUND");
  assert.equal(await bind("l", environment("K")), "OK");
});

test("a shared secret is bound by a label, a tenant's own by none", async () => {
  const operator = service.as("operator");
  const bind = (tenant: string, label?: { key: string; value: string }) =>
    reasonFrom(
      operator.bindSecret({ requestId: randomUUID(), tenant, name: "k", target: file, ...(label && { label }) }),
    );
  const label = { key: "team", value: "red" };
  await put("", "k", "x");
  await put("labelled", "k", "x");
  assert.equal(await bind("", label), "OK");
  assert.equal(await bind("labelled"), "OK");
  assert.equal(await bind("", undefined), "INVALID_FIELD");
  assert.equal(await bind("labelled", label), "INVALID_FIELD");
  assert.equal(await bind("", { key: "No Key", value: "" }), "INVALID_FIELD");
  const [listed] = (await service.as("viewer").listSecrets({ tenant: "" })).secrets;
  assert.equal(listed?.label?.value, "red");
  assert.deepEqual(listed.deliveries, []);
});

test("the gateway's token is 32 random bytes, the same after a restart, another one per tenant", async () => {
  const token = async (tenant: string) => {
    const answer = await service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant });
    return Buffer.from(answer.token?.value ?? []).toString();
  };
  const first = await token("gate");
  assert.match(first, /^[A-Za-z0-9_-]{43}$/);
  await service.restart();
  assert.equal(await token("gate"), first);
  assert.notEqual(await token("other-gate"), first);
});

test("every caller has the methods of the allow table and no other", async () => {
  const id = { requestId: randomUUID(), tenant: "access" };
  const calls = {
    putSecret: (caller: CallerName) =>
      service.as(caller).putSecret({ ...id, name: "gateway-token", value: { value: Buffer.of(1) } }),
    listSecrets: (caller: CallerName) => service.as(caller).listSecrets({ tenant: "access" }),
    deleteSecret: (caller: CallerName) => service.as(caller).deleteSecret({ ...id, name: "k" }),
    bindSecret: (caller: CallerName) => service.as(caller).bindSecret({ ...id, name: "absent", target: file }),
    acquireInjectionLease: (caller: CallerName) =>
      service.as(caller).acquireInjectionLease({ ...id, vmId, generation: 1 }),
    injectSecrets: (caller: CallerName) =>
      service.as(caller).injectSecrets({ ...id, vmId, generation: 1, guestAddress: "192.0.2.1" }),
    issueGuestIdentity: (caller: CallerName) =>
      service.as(caller).issueGuestIdentity({ requestId: randomUUID(), tenant: "access", vmId, generation: 1 }),
    createDataKey: (caller: CallerName) =>
      service.as(caller).createDataKey({ ...id, purpose: "backup", objectId: "o" }),
    unwrapDataKey: (caller: CallerName) =>
      service
        .as(caller)
        .unwrapDataKey({ tenant: "access", purpose: "backup", objectId: "o", wrappedKey: Buffer.of(1) }),
    shredTenant: (caller: CallerName) => service.as(caller).shredTenant({ requestId: randomUUID(), tenant: "access" }),
    rotateRootKey: (caller: CallerName) => service.as(caller).rotateRootKey({ requestId: randomUUID() }),
    issueGatewayToken: (caller: CallerName) =>
      service.as(caller).issueGatewayToken({ requestId: randomUUID(), tenant: "access" }),
  };
  const allowed: Record<CallerName, readonly string[]> = {
    operator: ["putSecret", "listSecrets", "deleteSecret", "bindSecret", "rotateRootKey", "issueGatewayToken"],
    viewer: ["listSecrets"],
    vm: [
      "acquireInjectionLease",
      "injectSecrets",
      "issueGuestIdentity",
      "createDataKey",
      "unwrapDataKey",
      "shredTenant",
    ],
    net: [],
    stranger: [],
  };
  const got: Record<string, string[]> = {};
  for (const caller of ["operator", "viewer", "vm", "net", "stranger"] as const) {
    got[caller] = [];
    for (const [method, call] of Object.entries(calls)) {
      const reason = await reasonFrom(call(caller));
      if (!/^(PERMISSION_DENIED|ROLE_REQUIRED|NOT_ALLOWED|METHOD_NOT_ALLOWED)$/.test(reason)) got[caller].push(method);
    }
  }
  assert.deepEqual(got, allowed);
});

test("without the root key values fail closed, metadata and shreds go on, and it heals without a restart", async () => {
  await put("rootless", "k", "value");
  const { rootKeyPath } = service;
  renameSync(rootKeyPath, `${rootKeyPath}.away`);
  try {
    assert.equal(await reasonFrom(put("rootless", "k", "value")), "ROOT_KEY_UNAVAILABLE");
    const token = () => service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant: "rootless" });
    assert.equal(await reasonFrom(token()), "ROOT_KEY_UNAVAILABLE");
    assert.equal((await service.as("viewer").listSecrets({ tenant: "rootless" })).secrets.length, 1);
    await service.restart();
    assert.equal((await service.as("viewer").listSecrets({ tenant: "rootless" })).secrets.length, 1);
    assert.equal(await reasonFrom(service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "rootless" })), "OK");
  } finally {
    renameSync(`${rootKeyPath}.away`, rootKeyPath);
  }
  assert.equal((await put("rootless", "k", "value")).secret?.version, 1);
});

test("without audit what widens is not done, and a shred is", async () => {
  await put("unaudited", "k", "value");
  service.audit.mode = "fail";
  try {
    assert.equal(await reasonFrom(put("unaudited", "k", "other")), "AUDIT_UNAVAILABLE");
    const token = service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant: "unaudited" });
    assert.equal(await reasonFrom(token), "AUDIT_UNAVAILABLE");
    const identity = service
      .as("vm")
      .issueGuestIdentity({ requestId: randomUUID(), tenant: "unaudited", vmId, generation: 1 });
    assert.equal(await reasonFrom(identity), "AUDIT_UNAVAILABLE");
    assert.equal((await service.as("viewer").listSecrets({ tenant: "unaudited" })).secrets[0]?.version, 1);
    await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "unaudited" });
    assert.deepEqual((await service.as("viewer").listSecrets({ tenant: "unaudited" })).secrets, []);
  } finally {
    service.audit.mode = "accept";
  }
});
