/** SVC-02, REL-12: every identity against every method, through the real gate; what is let in is what docs/authority.md says, and nothing else. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, type DescMethod, type DescService } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { access as auditAccess } from "@lobsterd/audit/access.ts";
import { type AccessTable, allow, allowAnyPrincipal } from "@lobsterd/chassis/access.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { type TestCaller, type TestHarness, testHarness } from "@lobsterd/chassis/testing.ts";
import { networkAccess } from "@lobsterd/net/access.ts";
import { Health } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "@lobsterd/proto/grpc/reflection/v1/reflection_pb.ts";
import { access as proxyAccess } from "@lobsterd/proxy/access.ts";
import { access as secretsAccess } from "@lobsterd/secrets/access.ts";
import { access as vmAccess } from "@lobsterd/vm/access.ts";

const identities: readonly TestCaller[] = [
  ...(["vm", "net", "proxy", "secrets", "audit", "nats", "caddy", "host"] as const).map(
    (name) => `service:${name}` as const,
  ),
  ...["role:operator" as const, "role:viewer" as const, "owner:anna" as const, "stranger" as const, "nobody" as const],
];
/** What the authority of `secrets` can say somebody is, and whose rights that gives; nobody's if nothing is said. */
const issued: ReadonlyMap<TestCaller, "owner" | "viewer" | undefined> = new Map([
  ["issued:owner:client/ida", "owner"],
  ["issued:viewer:client/vera", "viewer"],
  ...["client/operator", "client/viewer", "svc/vm", "svc/secrets", "svc/audit", "svc/host", "guest/demo/1/1"].flatMap(
    (path) => [[`issued:owner:${path}`, undefined] as const, [`issued:viewer:${path}`, undefined] as const],
  ),
] as const);
const rules = [...auditAccess, networkAccess, ...proxyAccess, ...secretsAccess, ...vmAccess];
const builtIn = [Health, ServerReflection];

/** Rows of docs/authority.md: who may call each method. */
function expected(): Map<string, Set<string>> {
  const text = readFileSync(new URL("../../docs/authority.md", import.meta.url), "utf8");
  const rows = text.matchAll(/^\| `([\w.]+\/\w+)` \| (.*) \|$/gm);
  return new Map(
    [...rows].map(([, method = "", who = ""]) => [method, new Set(who.split(", ").filter((one) => one !== "-"))]),
  );
}

/** `owner:anna` is there as `owner`, `role:viewer` as `viewer`, `service:vm` as `vm`. */
const nameOf = (caller: TestCaller) => (caller.startsWith("owner:") ? "owner" : caller.replace(/^(role|service):/, ""));

/** Handlers that nobody may reach who is not let in: whether one was is seen by its answer. */
function routesOf(service: DescService): Routes {
  const handlers = Object.fromEntries(service.methods.map(({ localName }) => [localName, unimplemented]));
  return defineRoutes(service, handlers as Parameters<typeof defineRoutes>[1]);
}

async function isLetIn(harness: TestHarness, method: DescMethod, caller: TestCaller): Promise<boolean> {
  const client = harness.as(caller, method.parent) as Record<string, (request: unknown) => unknown>;
  const message = create(method.input);
  const messages = (async function* () {
    yield message;
  })();
  const isStreamed = method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming";
  try {
    const answer = client[method.localName]?.(isStreamed ? messages : message);
    if (method.methodKind === "unary" || method.methodKind === "client_streaming") await answer;
    else for await (const _ of answer as AsyncIterable<unknown>) break;
    return true;
  } catch (failure) {
    const error = ConnectError.from(failure);
    if (error.code === Code.Unauthenticated) return false;
    return reasonOf(error) !== "NOT_ALLOWED";
  }
}

test("the cross product of identities and methods is the matrix that was reviewed", async (t) => {
  const matrix = expected();
  const found = new Map<string, Set<string>>();
  let pairs = 0;
  for (const access of [...rules, ...builtIn.map(allowAnyPrincipal)]) {
    const harness = testHarness({ routes: [routesOf(access.service)], access: [access], maxDeadlineMs: 1000 });
    for (const method of access.service.methods) {
      const letIn = new Set<string>();
      for (const caller of identities) {
        if (await isLetIn(harness, method, caller)) letIn.add(nameOf(caller));
        pairs += 1;
      }
      for (const [caller, as] of issued) {
        const isIn = await isLetIn(harness, method, caller);
        assert.equal(isIn, as !== undefined && letIn.has(as), `${method.name} as ${caller}`);
        pairs += 1;
      }
      found.set(`${access.service.typeName}/${method.name}`, letIn);
    }
  }
  for (const [method, who] of found)
    assert.deepEqual([...who].sort(), [...(matrix.get(method) ?? ["no row"])].sort(), method);
  assert.deepEqual([...matrix.keys()].sort(), [...found.keys()].sort());
  t.diagnostic(`${pairs} pairs of ${identities.length + issued.size} identities and ${found.size} methods`);
});

test("a method without a row stops the server, and so does a row without a method or a field that is not there", () => {
  for (const { service, rows } of rules) {
    const table = Object.fromEntries([...rows].map(([name, row]) => [name, [...row]])) as AccessTable<DescService>;
    assert.doesNotThrow(() => allow(service, table));
    for (const { localName, name } of service.methods) {
      const { [localName]: _, ...without } = table;
      assert.throws(() => allow(service, without as AccessTable<DescService>), new RegExp(`${name} has no row`));
      const misled = { ...table, [localName]: ["owner:absent"] } as AccessTable<DescService>;
      assert.throws(() => allow(service, misled), /has no field absent/);
    }
    assert.throws(() => allow(service, { ...table, deleteEverything: [] } as AccessTable<DescService>), /no method/);
  }
});
