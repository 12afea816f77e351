import assert from "node:assert/strict";
import { test } from "node:test";
import { type BootCall, createFirecrackerApi } from "./api-client.ts";
import type { HttpRequest } from "./http-connection.ts";
import { bootCalls, jailPaths, outputCalls, snapshotCreation, snapshotLoad } from "./machine-document.ts";
import { noPublishedApi, readPublishedApi } from "./testing/published-api.ts";
import { pinnedVersion } from "./version.ts";

/** The requests that `work` makes of a VMM that is content with everything. */
async function requestsOf(
  work: (api: ReturnType<typeof createFirecrackerApi>) => Promise<unknown>,
): Promise<HttpRequest[]> {
  const requests: HttpRequest[] = [];
  const answers: Readonly<Record<string, object>> = {
    "/": { app_name: "Firecracker", id: "x", state: "Running", vmm_version: pinnedVersion },
    "/version": { firecracker_version: pinnedVersion },
    "/vm/config": {},
  };
  const api = createFirecrackerApi({
    busy: false,
    closed: false,
    close() {},
    async send(request) {
      requests.push(request);
      if (request.method !== "GET") return { status: 204, body: Buffer.alloc(0) };
      return { status: 200, body: Buffer.from(JSON.stringify(answers[request.path])) };
    },
  });
  await work(api);
  return requests;
}

const before: Readonly<Record<string, (api: ReturnType<typeof createFirecrackerApi>) => Promise<unknown>>> = {
  startInstance: (api) => api.startInstance(),
  getVersion: (api) => api.getVersion(),
  getInstance: (api) => api.getInstance(),
  getConfiguration: (api) => api.getConfiguration(),
  loadSnapshot: (api) => api.loadSnapshot(snapshotLoad),
};
const after: typeof before = {
  pause: (api) => api.pause(),
  resume: (api) => api.resume(),
  createSnapshot: (api) => api.createSnapshot(snapshotCreation),
  reopenIdentityDrive: (api) => api.reopenIdentityDrive(jailPaths.identity),
};

test("every request that the client can make is published, and in the state in which it is made", {
  skip: noPublishedApi,
}, async () => {
  const published = readPublishedApi();
  assert.equal(published.version, pinnedVersion);
  const calls: readonly BootCall[] = [1, 2, 32].flatMap((vcpuCount) => bootCalls({ vcpuCount, memoryMib: 1024 }));
  for (const call of [...outputCalls(), ...calls]) {
    const [request] = await requestsOf((api) => api.apply(call));
    assert.deepEqual(request === undefined ? ["none"] : published.requestFaults(request, false), []);
  }
  for (const [booted, group] of [
    [false, before],
    [true, after],
  ] as const) {
    for (const [name, work] of Object.entries(group)) {
      const [request] = await requestsOf(work);
      assert.deepEqual(request === undefined ? ["none"] : published.requestFaults(request, booted), [], name);
    }
  }
  const covered = new Set(["apply", ...Object.keys(before), ...Object.keys(after)]);
  await requestsOf(async (api) => assert.deepEqual(new Set(Object.keys(api)), covered, "a call that no test makes"));
});

test("the check itself sees a field, a value, a path and a state that are not published", {
  skip: noPublishedApi,
}, () => {
  const { requestFaults } = readPublishedApi();
  const drive = { drive_id: "rootfs", is_root_device: true };
  const wrong: readonly (readonly [Parameters<typeof requestFaults>[0], boolean])[] = [
    [{ method: "PUT", path: "/drives/rootfs", body: { ...drive, more: 1 } }, false],
    [{ method: "PUT", path: "/drives/rootfs", body: { drive_id: "rootfs" } }, false],
    [{ method: "PUT", path: "/drives/rootfs", body: { ...drive, io_engine: "Fast" } }, false],
    [
      {
        method: "PUT",
        path: "/drives/rootfs",
        body: { ...drive, rate_limiter: { ops: { size: -1, refill_time: 1 } } },
      },
      false,
    ],
    [{ method: "PUT", path: "/drives/rootfs", body: { ...drive, is_read_only: "yes" } }, false],
    [{ method: "PUT", path: "/drives/rootfs", body: drive }, true],
    [{ method: "PUT", path: "/drives/rootfs" }, false],
    [{ method: "PUT", path: "/drive/rootfs", body: drive }, false],
    [{ method: "PATCH", path: "/logger", body: {} }, false],
    [{ method: "PUT", path: "/snapshot/create", body: snapshotCreation }, false],
    [{ method: "PUT", path: "/snapshot/load", body: snapshotLoad }, true],
    [{ method: "GET", path: "/version", body: {} }, false],
  ];
  for (const [request, booted] of wrong)
    assert.equal(requestFaults(request, booted).length, 1, JSON.stringify(request));
  assert.deepEqual(requestFaults({ method: "PUT", path: "/drives/rootfs", body: drive }, false), []);
});

test("no call of the client reaches a forbidden path", async () => {
  const forbidden = /vsock|balloon|pmem|hotplug|mmds|cpu-config/;
  const groups = [...Object.values(before), ...Object.values(after)];
  const calls = bootCalls({ vcpuCount: 2, memoryMib: 512 }).map(
    (call) => (api: ReturnType<typeof createFirecrackerApi>) => api.apply(call),
  );
  for (const work of [...groups, ...calls]) {
    for (const { path } of await requestsOf(work)) assert.doesNotMatch(path, forbidden);
  }
});
