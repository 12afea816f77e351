import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { memoryNames } from "../testing/memory-names.ts";
import { createRouteDirectory, type RouteDirectory } from "./route-directory.ts";
import { migrations, openRouteStore, type RouteStore } from "./route-store.ts";

const first = {
  ...{ tenant: "demo", vmId: "a".repeat(32), generation: 1, state: "awake" as const },
  ...{ guestAddress: "10.201.0.1", extraHostNames: [] },
};

describe("route directory", () => {
  let store: RouteStore;
  let names: ReturnType<typeof memoryNames>;
  let nowMs = 1000;
  let directory: RouteDirectory;
  const open = (over: RouteStore): RouteDirectory =>
    createRouteDirectory({
      store: over,
      names,
      guestNetwork: "10.201.0.0/16",
      domain: "tenants.example",
      nowMs: () => nowMs,
    });

  beforeEach(() => {
    nowMs = 1000;
    store = openRouteStore(openDatabase(":memory:", migrations));
    names = memoryNames();
    directory = open(store);
  });

  it("publishes: stored, resolvable, named", () => {
    assert.deepEqual(directory.publish(first), { route: { ...first, publishedMs: 1000 }, changed: true });
    assert.deepEqual(store.get("demo"), { ...first, publishedMs: 1000 });
    assert.equal(directory.addressOf("demo"), "10.201.0.1");
    assert.deepEqual(names.list(), ["demo"]);
  });

  it("gives the same answer to the same route again", () => {
    const { route } = directory.publish(first);
    nowMs = 2000;
    assert.deepEqual(directory.publish(first), { route, changed: false });
  });

  it("replaces a route by a newer generation of the same microVM", () => {
    directory.publish(first);
    const next = { ...first, generation: 2, guestAddress: "10.201.0.9" };
    assert.equal(directory.publish(next).changed, true);
    assert.equal(directory.addressOf("demo"), "10.201.0.9");
  });

  for (const [what, change, reason] of [
    ["an older generation", { generation: 1 }, "STALE_GENERATION"],
    ["the same generation at another address", { guestAddress: "10.201.0.77" }, "STALE_GENERATION"],
    ["another microVM", { vmId: "b".repeat(32) }, "ROUTE_TAKEN"],
    ["another microVM of a newer generation", { vmId: "b".repeat(32), generation: 9 }, "ROUTE_TAKEN"],
    ["an address outside the guests' network", { tenant: "other", guestAddress: "127.0.0.1" }, "NOT_A_GUEST_ADDRESS"],
    ["an address of the metadata service", { tenant: "other", guestAddress: "169.254.169.254" }, "NOT_A_GUEST_ADDRESS"],
  ] as const) {
    it(`refuses ${what} and changes nothing`, () => {
      const current = { ...first, generation: 2 };
      directory.publish(current);
      assert.throws(
        () => directory.publish({ ...current, ...change }),
        (error) => reasonOf(error) === reason,
      );
      assert.deepEqual(
        store.all().map(({ publishedMs: _, ...route }) => route),
        [current],
      );
      assert.equal(directory.addressOf("demo"), "10.201.0.1");
      assert.deepEqual(names.list(), ["demo"]);
    });
  }

  it("withdraws everywhere, and again without effect", () => {
    directory.publish(first);
    assert.equal(directory.withdraw("demo", first.vmId)?.vmId, first.vmId);
    assert.equal(directory.withdraw("demo", first.vmId), undefined);
    assert.equal(store.get("demo"), undefined);
    assert.equal(directory.addressOf("demo"), undefined);
    assert.deepEqual(names.list(), []);
    assert.throws(
      () => directory.get("demo"),
      (error) => reasonOf(error) === "ROUTE_NOT_FOUND",
    );
  });

  it("leaves another microVM's route alone, and withdraws any without a vm id", () => {
    directory.publish(first);
    assert.equal(directory.withdraw("demo", "b".repeat(32)), undefined);
    assert.deepEqual(names.list(), ["demo"]);
    assert.equal(directory.withdraw("demo", "")?.tenant, "demo");
  });

  it("does not let a route answer that could not be stored", () => {
    const full = open({
      ...store,
      put: () => {
        throw new Error("disk is full");
      },
    });
    assert.throws(() => full.publish(first), /disk is full/);
    assert.equal(full.addressOf("demo"), undefined);
    assert.deepEqual(names.list(), []);
  });

  it("has cut a name off before the store can fail", () => {
    directory.publish(first);
    const stuck = open({
      ...store,
      delete: () => {
        throw new Error("disk is full");
      },
    });
    stuck.reconcile();
    assert.throws(() => stuck.withdraw("demo", ""), /disk is full/);
    assert.equal(stuck.addressOf("demo"), undefined);
    assert.deepEqual(names.list(), []);
    // The call failed, so the route stands: the store says so, and the next look follows it.
    assert.deepEqual(stuck.reconcile(), { added: ["demo"], removed: [] });
  });

  it("makes names and addresses from the store, once", () => {
    directory.publish(first);
    names.present.clear();
    names.present.add("left-over");
    const restarted = open(store);
    assert.equal(restarted.addressOf("demo"), undefined);
    assert.deepEqual(restarted.reconcile(), { added: ["demo"], removed: ["left-over"] });
    assert.equal(restarted.addressOf("demo"), "10.201.0.1");
    assert.deepEqual(restarted.reconcile(), { added: [], removed: [] });
  });

  describe("a tenant that sleeps", () => {
    const asleep = { ...first, state: "asleep" as const, guestAddress: "" };
    const isAsleep = () => [directory.find("demo")?.state, directory.addressOf("demo"), names.listAsleep()];

    it("keeps its names and has no address, until a later generation is awake", () => {
      directory.publish({ ...first, extraHostNames: ["shop.example"] });
      assert.equal(directory.publish({ ...asleep, extraHostNames: ["shop.example"] }).changed, true);
      assert.deepEqual(isAsleep(), ["asleep", undefined, ["demo"]]);
      assert.deepEqual([names.list(), names.hosts.get("shop.example")], [["demo"], "demo"]);
      directory.publish({ ...first, generation: 2 });
      assert.deepEqual(isAsleep(), ["awake", "10.201.0.1", []]);
    });

    it("is not woken by a call that comes late, and not put to sleep by one", () => {
      directory.publish(first);
      directory.publish(asleep);
      assert.equal(directory.publish(asleep).changed, false);
      const isStale = (error: unknown) => reasonOf(error) === "STALE_GENERATION";
      assert.throws(() => directory.publish(first), isStale);
      assert.deepEqual(isAsleep(), ["asleep", undefined, ["demo"]]);
      directory.publish({ ...first, generation: 2 });
      assert.throws(() => directory.publish(asleep), isStale);
      assert.deepEqual(isAsleep(), ["awake", "10.201.0.1", []]);
    });

    it("is held from the file on, before anything else is written", () => {
      directory.publish(first);
      const broken = open({
        ...store,
        put: () => {
          throw new Error("disk full");
        },
      });
      broken.reconcile();
      assert.throws(() => broken.publish(asleep), /disk full/);
      assert.deepEqual(names.listAsleep(), ["demo"]);
    });

    it("is reached only once it is durable that it is awake", () => {
      directory.publish(asleep);
      const broken = open({
        ...store,
        put: () => {
          throw new Error("disk full");
        },
      });
      assert.throws(() => broken.publish({ ...first, generation: 2 }), /disk full/);
      assert.deepEqual([broken.addressOf("demo"), names.listAsleep()], [undefined, ["demo"]]);
    });

    it("may never have had a route before", () => {
      directory.publish(asleep);
      assert.deepEqual([isAsleep(), names.list()], [["asleep", undefined, ["demo"]], ["demo"]]);
    });

    it("is as it was after a restart, also on an empty tmpfs", () => {
      directory.publish(asleep);
      directory.publish({ ...first, tenant: "other", guestAddress: "10.201.0.3" });
      names = memoryNames();
      names.markAsleep("other");
      directory = open(store);
      assert.deepEqual(directory.reconcile(), {
        added: ["demo", "other", ".asleep/demo"],
        removed: [".asleep/other"],
      });
      assert.deepEqual(isAsleep(), ["asleep", undefined, ["demo"]]);
      assert.deepEqual(directory.reconcile(), { added: [], removed: [] });
    });

    it("leaves nothing when its route is withdrawn", () => {
      directory.publish(asleep);
      directory.withdraw("demo", "");
      assert.deepEqual([names.list(), names.listAsleep(), directory.find("demo")], [[], [], undefined]);
    });
  });

  describe("extra host names", () => {
    const shop = { ...first, extraHostNames: ["www.shop.example", "shop.example"] };

    it("are stored in order and lead to the tenant", () => {
      assert.deepEqual(directory.publish(shop).route.extraHostNames, ["shop.example", "www.shop.example"]);
      assert.deepEqual(Object.fromEntries(names.hosts), { "shop.example": "demo", "www.shop.example": "demo" });
      assert.deepEqual(store.all()[0]?.extraHostNames, ["shop.example", "www.shop.example"]);
      assert.equal(directory.publish({ ...shop, extraHostNames: shop.extraHostNames.toReversed() }).changed, false);
    });

    it("are replaced as a whole, within one generation too", () => {
      directory.publish(shop);
      const next = directory.publish({ ...shop, extraHostNames: ["shop.example", "new.example"] });
      assert.equal(next.changed, true);
      assert.deepEqual([...names.hosts.keys()].sort(), ["new.example", "shop.example"]);
    });

    it("go with the route, and are free again", () => {
      directory.publish(shop);
      directory.withdraw("demo", "");
      assert.deepEqual([...names.hosts], []);
      directory.publish({ ...shop, tenant: "other", vmId: "b".repeat(32) });
      assert.equal(names.hosts.get("shop.example"), "other");
    });

    for (const [hostName, reason] of [
      ["shop.example", "HOST_NAME_TAKEN"],
      ["tenants.example", "HOST_NAME_RESERVED"],
      ["demo.tenants.example", "HOST_NAME_RESERVED"],
      ["demo.guest.internal", "HOST_NAME_RESERVED"],
      ["some.localhost", "HOST_NAME_RESERVED"],
    ] as const) {
      it(`refuse ${hostName} with ${reason} and change nothing`, () => {
        directory.publish(shop);
        const other = { ...first, tenant: "other", extraHostNames: ["free.example", hostName] };
        assert.throws(
          () => directory.publish(other),
          (error) => reasonOf(error) === reason,
        );
        assert.equal(store.get("other"), undefined);
        assert.deepEqual([...names.hosts.keys()].sort(), ["shop.example", "www.shop.example"]);
      });
    }

    it("are made from the store, once", () => {
      directory.publish(shop);
      names.hosts.clear();
      names.hosts.set("shop.example", "thief");
      names.hosts.set("left.example", "demo");
      assert.deepEqual(directory.reconcile(), {
        added: ["shop.example/demo", "www.shop.example/demo"],
        removed: ["shop.example/thief", "left.example/demo"],
      });
      assert.deepEqual(directory.reconcile(), { added: [], removed: [] });
    });
  });
});
