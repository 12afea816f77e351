import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { beforeEach, describe, it } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { OutgoingEvent } from "@lobsterd/chassis/events.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import {
  captureLogs,
  fakeAuditSink,
  type TestCaller,
  type TestHarness,
  testHarness,
} from "@lobsterd/chassis/testing.ts";
import { RouteService, RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { access } from "./access.ts";
import { createRouteDirectory } from "./directory/route-directory.ts";
import { migrations, openRouteStore } from "./directory/route-store.ts";
import { createProxyEvents } from "./events.ts";
import { createRoutes } from "./routes.ts";
import { memoryNames } from "./testing/memory-names.ts";
import type { Wakes } from "./waking/wakes.ts";

const route = { tenant: "demo", vmId: "a".repeat(32), generation: 1, guestAddress: "10.201.0.1" };

const unused = () => Promise.reject(new Error("nobody waits in this test"));

const hosts = (...extraHostNames: string[]) => ({ extraHostNames });

describe("RouteService", () => {
  let harness: TestHarness;
  let told: OutgoingEvent[];
  let changed: string[];
  const as = (caller: TestCaller) => harness.as(caller, RouteService);
  const publish = (tenant: string) => as("service:vm").publishRoute({ requestId: randomUUID(), ...route, tenant });

  beforeEach(() => {
    const database = openDatabase(":memory:", migrations);
    told = [];
    changed = [];
    const bus = {
      publish: (event: OutgoingEvent) => void told.push(event),
      subscribe: async () => ({ close: async () => undefined }),
      close: async () => undefined,
    };
    const directory = createRouteDirectory({
      store: openRouteStore(database),
      names: memoryNames(),
      guestNetwork: "10.201.0.0/16",
      domain: "tenants.example",
      nowMs: () => 1_700_000_000_000,
    });
    const events = createProxyEvents({ bus, audit: fakeAuditSink(), logger: captureLogs().logger });
    const wakes: Wakes = { hold: unused, held: () => 0, routeChanged: (tenant) => void changed.push(tenant) };
    const context = { directory, events, wakes, requests: openRequestLog(database), domain: "tenants.example" };
    harness = testHarness({ routes: createRoutes(context), access, service: "proxy" });
  });

  it("publishes, shows and withdraws a route", async () => {
    const { route: published } = await publish("demo");
    assert.equal(published?.hostName, "demo.tenants.example");
    assert.equal(published?.publishTime?.seconds, 1_700_000_000n);
    assert.deepEqual((await as("role:viewer").getRoute({ tenant: "demo" })).route, published);
    await as("service:vm").withdrawRoute({ requestId: randomUUID(), tenant: "demo", vmId: route.vmId });
    await assert.rejects(
      as("role:viewer").getRoute({ tenant: "demo" }),
      (error) => reasonOf(error) === "ROUTE_NOT_FOUND",
    );
    assert.deepEqual(
      told.map(({ tenant, name }) => `${tenant} ${name}`),
      ["demo route-published", "demo route-withdrawn"],
    );
  });

  it("puts a route to sleep and shows it so, and tells those who wait of each change", async () => {
    await publish("demo");
    const asleep = { requestId: randomUUID(), ...route, guestAddress: "", state: RouteState.ASLEEP };
    const { route: put } = await as("service:vm").publishRoute(asleep);
    assert.deepEqual([put?.state, put?.guestAddress], [RouteState.ASLEEP, ""]);
    assert.deepEqual((await as("role:viewer").listRoutes({})).routes[0]?.state, RouteState.ASLEEP);
    const late = as("service:vm").publishRoute({
      ...asleep,
      ...route,
      requestId: randomUUID(),
      state: RouteState.AWAKE,
    });
    await assert.rejects(late, (error) => reasonOf(error) === "STALE_GENERATION");
    const next = { ...route, requestId: randomUUID(), generation: 2, state: RouteState.AWAKE };
    assert.equal((await as("service:vm").publishRoute(next)).route?.state, RouteState.AWAKE);
    await as("service:vm").withdrawRoute({ requestId: randomUUID(), tenant: "demo", vmId: route.vmId });
    assert.deepEqual(
      told.map(({ name }) => name),
      ["route-published", "route-asleep", "route-published", "route-withdrawn"],
    );
    assert.deepEqual(changed, ["demo", "demo", "demo", "demo"]);
  });

  it("gives one request id one effect", async () => {
    const request = { requestId: randomUUID(), ...route };
    const answers = [await as("service:vm").publishRoute(request), await as("service:vm").publishRoute(request)];
    assert.deepEqual(answers[0], answers[1]);
    assert.equal(told.length, 1);
    await assert.rejects(
      as("service:vm").publishRoute({ ...request, generation: 2 }),
      (error) => reasonOf(error) === "REQUEST_ID_REUSED",
    );
  });

  it("says FAILED_PRECONDITION with a reason for a route it must not replace", async () => {
    await publish("demo");
    const request = { requestId: randomUUID(), ...route, vmId: "b".repeat(32), generation: 5 };
    await assert.rejects(as("service:vm").publishRoute(request), (error) => {
      return ConnectError.from(error).code === Code.FailedPrecondition && reasonOf(error) === "ROUTE_TAKEN";
    });
  });

  it("shows extra host names, and says FAILED_PRECONDITION for one of another tenant", async () => {
    const withHosts = (tenant: string, ...extraHostNames: string[]) =>
      as("service:vm").publishRoute({ requestId: randomUUID(), ...route, tenant, extraHostNames });
    const { route: published } = await withHosts("demo", "www.shop.example", "shop.example");
    assert.deepEqual(published?.extraHostNames, ["shop.example", "www.shop.example"]);
    await assert.rejects(withHosts("other", "shop.example"), (error) => {
      return ConnectError.from(error).code === Code.FailedPrecondition && reasonOf(error) === "HOST_NAME_TAKEN";
    });
  });

  it("lists in pages, in order of name", async () => {
    for (const tenant of ["c", "a", "e", "b", "d"]) await publish(tenant);
    const seen: string[][] = [];
    let pageToken = "";
    do {
      const page = await as("role:operator").listRoutes({ page: { pageSize: 2, pageToken } });
      seen.push(page.routes.map(({ tenant }) => tenant));
      pageToken = page.page?.nextPageToken ?? "";
    } while (pageToken !== "");
    assert.deepEqual(seen, [["a", "b"], ["c", "d"], ["e"]]);
  });

  for (const [what, change] of [
    ["tenant", { tenant: "Demo" }],
    ["tenant", { tenant: "../demo" }],
    ["tenant", { tenant: "a".repeat(41) }],
    ["vm_id", { vmId: "x" }],
    ["generation", { generation: 0 }],
    ["guest_address", { guestAddress: "::1" }],
    ["guest_address", { guestAddress: "192.168.0.1" }],
    ["guest_address", { guestAddress: "" }],
    ["state", { state: 3 as RouteState }],
    ["extra_host_names", hosts("www.tenants.example")],
    ["extra_host_names", hosts("tenants.example")],
    ["extra_host_names", hosts("demo.guest.internal")],
    ["extra_host_names", hosts("Shop.example")],
    ["extra_host_names", hosts("shop.example.")],
    ["extra_host_names", hosts("*.shop.example")],
    ["extra_host_names", hosts("../shop.example")],
    ["extra_host_names", hosts("shop")],
    ["extra_host_names", hosts("10.0.0.1")],
    ["extra_host_names", hosts("shop.example", "shop.example")],
    ["extra_host_names", hosts(...Array.from({ length: 9 }, (_, index) => `s${index}.example`))],
    ["request_id", { requestId: "1" }],
  ] as const) {
    it(`refuses ${JSON.stringify(change)} as INVALID_ARGUMENT`, async () => {
      const request = { requestId: randomUUID(), ...route, ...change };
      await assert.rejects(
        as("service:vm").publishRoute(request),
        (error) => {
          const { code } = ConnectError.from(error);
          return (
            code === Code.InvalidArgument &&
            ["INVALID_FIELD", "NOT_A_GUEST_ADDRESS", "HOST_NAME_RESERVED"].includes(reasonOf(error) ?? "")
          );
        },
        what,
      );
    });
  }

  const callers: readonly TestCaller[] = [
    "service:vm",
    "service:net",
    "service:secrets",
    "service:audit",
    "role:operator",
    "role:viewer",
    "role:owner",
    "stranger",
    "nobody",
  ];
  const mayWrite = new Set<TestCaller>(["service:vm"]);
  const mayRead = new Set<TestCaller>(["service:vm", "role:operator", "role:viewer"]);
  for (const caller of callers) {
    it(`lets ${caller} do what the table says`, async () => {
      const isRefused = async (call: Promise<unknown>): Promise<boolean> => {
        const code = await call.then(
          () => undefined,
          (error: unknown) => ConnectError.from(error).code,
        );
        return code === Code.PermissionDenied || code === Code.Unauthenticated;
      };
      const client = as(caller);
      const write = !mayWrite.has(caller);
      assert.equal(await isRefused(client.publishRoute({ requestId: randomUUID(), ...route })), write);
      assert.equal(await isRefused(client.withdrawRoute({ requestId: randomUUID(), tenant: "demo" })), write);
      assert.equal(await isRefused(client.getRoute({ tenant: "demo" })), !mayRead.has(caller));
      assert.equal(await isRefused(client.listRoutes({})), !mayRead.has(caller));
    });
  }
});
