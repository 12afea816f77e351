/**
 * Every RPC says in its proto what it means for the audit log, and every service does what its protos say (AUD-01, AUD-06). By reflection: a new RPC
 * is in these tests without anybody adding it.
 */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { create, type DescMethod, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, MethodOptionsSchema } from "@bufbuild/protobuf/wkt";
import { createContextValues } from "@connectrpc/connect";
import { access as auditAccess } from "@lobsterd/audit/access.ts";
import { createOwnAuditPolicy } from "@lobsterd/audit/own-audit-policy.ts";
import { createRoutes as createAuditRoutes } from "@lobsterd/audit/routes.ts";
import type { AccessRule } from "@lobsterd/chassis/access.ts";
import { type AuditPolicy, openAuditSpool } from "@lobsterd/chassis/audit.ts";
import { auditClassOf, auditFaults, requireAuditClasses } from "@lobsterd/chassis/audit-class.ts";
import { auditCalls } from "@lobsterd/chassis/audit-interceptor.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Routes } from "@lobsterd/chassis/routes.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { captureLogs, fakeAuditSink } from "@lobsterd/chassis/testing.ts";
import { networkAccess } from "@lobsterd/net/access.ts";
import { networkRoutes } from "@lobsterd/net/routes.ts";
import { AuditClass } from "@lobsterd/proto/lobsterd/common/v1/audit_pb.ts";
import { access as proxyAccess } from "@lobsterd/proxy/access.ts";
import { createRoutes as createProxyRoutes } from "@lobsterd/proxy/routes.ts";
import { access as secretsAccess } from "@lobsterd/secrets/access.ts";
import { createAuditPolicy as createSecretsPolicy } from "@lobsterd/secrets/audit-policy.ts";
import { createRoutes as createSecretsRoutes } from "@lobsterd/secrets/routes.ts";
import { access as vmAccess } from "@lobsterd/vm/access.ts";
import { createAuditPolicy as createVmPolicy } from "@lobsterd/vm/audit-policy.ts";
import { createRoutes as createVmRoutes } from "@lobsterd/vm/routes.ts";

interface Served {
  readonly access: readonly AccessRule[];
  readonly routes: readonly Routes[];
  readonly policy: (sink: AuditPolicy["sink"], spool: AuditPolicy["spool"]) => AuditPolicy;
}

// Handlers are made and never called, so what they would work with is not there.
const nothing = {} as never;
const noRules = (sink: AuditPolicy["sink"], spool: AuditPolicy["spool"]) => ({ sink, spool, methods: {} });

const served: Readonly<Record<string, Served>> = {
  audit: {
    access: auditAccess,
    routes: createAuditRoutes(nothing),
    policy: (sink, spool) => ({ ...createOwnAuditPolicy(nothing, "", ""), sink, spool }),
  },
  net: { access: [networkAccess], routes: [networkRoutes(nothing)], policy: noRules },
  proxy: { access: proxyAccess, routes: createProxyRoutes(nothing), policy: noRules },
  secrets: { access: secretsAccess, routes: createSecretsRoutes(nothing), policy: createSecretsPolicy },
  vm: { access: vmAccess, routes: createVmRoutes(nothing), policy: createVmPolicy },
};

const isServed = ({ routes }: Served, method: DescMethod) =>
  routes.some(({ service, served: names }) => service === method.parent && names.has(method.localName));

/** Every service that the protos of lobsterd define. */
async function everyService(): Promise<DescService[]> {
  const root = join(import.meta.dirname, "../../proto/gen/lobsterd");
  const modules = await Promise.all(globSync(`${root}/**/*_pb.ts`).map((file) => import(file)));
  const exported = modules.flatMap((module: Record<string, unknown>) => Object.values(module));
  return exported.filter(
    (one): one is DescService => typeof one === "object" && one !== null && "kind" in one && one.kind === "service",
  );
}

describe("the audit class of every RPC", () => {
  it("is declared in its proto, for every service there is", async () => {
    const services = await everyService();
    assert.ok(services.length >= 7, `only ${services.length} services found`);
    requireAuditClasses(services);
    const names = new Set(Object.values(served).flatMap(({ routes }) => routes.map(({ service }) => service.typeName)));
    // The guest's agent cannot reach audit: it declares, and the host's side of its calls is recorded.
    assert.deepEqual(
      services.map(({ typeName }) => typeName).filter((name) => !names.has(name)),
      ["lobsterd.agent.v1.AgentService"],
    );
  });

  for (const [name, service] of Object.entries(served)) {
    it(`is what the policy of ${name} does`, () => {
      const { methods: rules } = service.policy(fakeAuditSink(), fakeAuditSink());
      const services = service.routes.map((one) => one.service);
      const faults = auditFaults({
        services,
        access: service.access,
        rules,
        isServed: (method) => isServed(service, method),
      });
      assert.deepEqual(faults, []);
    });
  }

  it("stops a service that has a method without one, and says what to write where", () => {
    const service = served["vm"]?.routes[0]?.service ?? assert.fail();
    const [method] = service.methods;
    const bare = { ...method, proto: { ...method?.proto, options: create(MethodOptionsSchema) } } as DescMethod;
    const changed = { ...service, methods: [bare] } as DescService;
    assert.throws(
      () => requireAuditClasses([changed]),
      /lobsterd\.vm\.v1\.TenantService\/SpawnTenant declares no audit class: put `option \(lobsterd\.common\.v1\.audit\)/,
    );
  });

  it("is seen to differ from a rule of another kind, a missing one, one too many, and a step open to people", () => {
    const vm = served["vm"] ?? assert.fail();
    const { methods: rules } = vm.policy(fakeAuditSink(), fakeAuditSink());
    const { SpawnTenant, EvictTenant, ...others } = rules;
    const rule = SpawnTenant ?? EvictTenant ?? assert.fail();
    const faults = auditFaults({
      services: vm.routes.map(({ service }) => service),
      access: vm.access,
      rules: { ...others, SpawnTenant: { ...rule, kind: "narrowing" }, GetTenant: rule, Nothing: rule },
      isServed: (method) => isServed(vm, method),
    });
    const name = "lobsterd.vm.v1.TenantService";
    assert.deepEqual(faults, [
      "the audit policy has a rule for Nothing, which is no method",
      `${name}/SpawnTenant is declared AUDIT_CLASS_WIDENING and its rule in the audit policy is narrowing`,
      `${name}/GetTenant is declared AUDIT_CLASS_NONE and has a rule in the audit policy`,
      `${name}/EvictTenant is declared AUDIT_CLASS_NARROWING and has no rule in the audit policy: add one of kind "narrowing"`,
    ]);
    const net = served["net"] ?? assert.fail();
    const open = net.access.map(({ service, rows }) => ({
      service,
      rows: new Map([...rows, ["attachNetwork", new Set(["role:operator"] as const)]]),
    }));
    assert.deepEqual(
      auditFaults({
        services: net.routes.map(({ service }) => service),
        access: open,
        rules: {},
        isServed: () => true,
      }),
      ["lobsterd.net.v1.NetworkService/AttachNetwork is declared AUDIT_CLASS_STEP and may be called by role:operator"],
    );
  });

  it("can be read by a client that asks for the schema", () => {
    const file = served["vm"]?.routes[0]?.service.file ?? assert.fail();
    const sent = fromBinary(FileDescriptorProtoSchema, toBinary(FileDescriptorProtoSchema, file.proto));
    assert.ok((sent.service[0]?.method[0]?.options?.$unknown ?? []).some(({ no }) => no === 52001));
  });
});

describe("with audit stopped", () => {
  for (const [name, service] of Object.entries(served)) {
    it(`every method of ${name} fails or goes on as its proto declares, and what went on is delivered once`, async () => {
      const audit = fakeAuditSink();
      audit.mode = "fail";
      const { logger } = captureLogs();
      const spool = openAuditSpool(openDatabase(":memory:", []), audit, logger);
      const interceptor = auditCalls(service.policy(audit, spool), logger);
      const expected: string[] = [];
      for (const method of service.routes.flatMap((routes) => routes.service.methods)) {
        if (!isServed(service, method)) continue;
        const result = await call(interceptor, method);
        const declared = auditClassOf(method);
        const failsClosed = declared === AuditClass.WIDENING || declared === AuditClass.READ_SENSITIVE;
        assert.equal(result, failsClosed ? "AUDIT_UNAVAILABLE" : "ran", method.name);
        if (failsClosed) expected.push(`${method.name} outcome refused`);
        if (declared === AuditClass.NARROWING) {
          expected.push(`${method.name} intent unspecified`, `${method.name} outcome success`);
        }
      }
      audit.mode = "accept";
      await spool.deliver();
      await spool.deliver();
      spool.close();
      const delivered = audit.entries.map(({ action, phase, outcome }) => `${action} ${phase} ${outcome}`);
      assert.deepEqual(delivered, expected.length === 0 ? [] : ["MarkAuditGap outcome failure", ...expected]);
    });
  }
});

/** Runs a call of `method` with an empty request through the interceptor: the reason it was refused with, or `ran`. */
async function call(interceptor: ReturnType<typeof auditCalls>, method: DescMethod): Promise<string> {
  const isStream = method.methodKind !== "unary";
  const message = create(method.input);
  const messages = (async function* () {
    yield message;
  })();
  const request = { ...{ stream: isStream, service: method.parent, method, contextValues: createContextValues() } };
  let ran = false;
  const next = async () => {
    ran = true;
    return { stream: false, message: create(method.output) } as never;
  };
  try {
    await interceptor(next)({ ...request, message: isStream ? messages : message } as never);
  } catch (error) {
    return reasonOf(error) ?? String(error);
  }
  return ran ? "ran" : "did not run";
}
