/**
 * SVC-05: the real broker with the configuration that the runner writes, and every identity of the platform against every subject that is
 * not its own. What a refusal is worth is seen by an observer whom these tests alone add: nothing foreign was delivered.
 */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { connect, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { type ConnectOptions, openBrokerGround } from "./broker-ground.fixture.ts";
import { foreignPublishes, foreignSubscribes } from "./broker-subjects.fixture.ts";
import { makeAuthority } from "./certificates.ts";
import { serviceNames } from "./instance.ts";

const ground = await openBrokerGround();
const skip = ground === undefined && "nats-server cannot be had";
const maxPayloadBytes = 65_536;
after(() => ground?.close());

async function connectAs(t: TestContext, name: string, options?: ConnectOptions): Promise<NatsConnection> {
  assert.ok(ground !== undefined);
  const connection = await ground.connectAs(name, options);
  t.after(() => connection.close());
  return connection;
}

for (const name of serviceNames) {
  test(`${name} may publish its own events and is refused every other subject`, { skip }, async (t) => {
    const observer = await connectAs(t, "svc/observer");
    const delivered = new Set<string>();
    observer.subscribe(">", { callback: (_, { subject }) => void delivered.add(subject) });
    await observer.flush();
    const service = await connectAs(t, `svc/${name}`);
    const refused = refusalsOf(service);
    const [publishes, subscribes] = [foreignPublishes(name), foreignSubscribes(name)];
    // A message that is delivered shows that the observer sees what is not refused.
    service.publish(`${name}.v1.demo.tested`, "{}");
    for (const subject of publishes) service.publish(subject, "{}");
    const heard: string[] = [];
    for (const subject of subscribes) {
      service.subscribe(subject, { callback: (error) => void (error === null && heard.push(subject)) });
      service.subscribe(subject, { queue: "all", callback: (error) => void (error === null && heard.push(subject)) });
    }
    await service.flush();
    await service.flush();
    for (const subject of subscribes) observer.publish(subject.replace(">", "x.y").replaceAll("*", "x"), "{}");
    await observer.flush();
    await service.flush();
    assert.deepEqual([...refused].sort(), [
      ...publishes.map((subject) => `publish ${subject}`).sort(),
      ...subscribes.map((subject) => `subscription ${subject}`).sort(),
    ]);
    assert.deepEqual(heard, []);
    const forged = publishes.filter((subject) => delivered.has(subject) && !subscribes.includes(subject));
    assert.deepEqual(forged, []);
    assert.ok(delivered.has(`${name}.v1.demo.tested`));
    t.diagnostic(`${publishes.length} subjects to publish and ${subscribes.length} to subscribe, all refused`);
  });
}

test("nobody but the five services gets in", { skip }, async (t) => {
  const guestCa = await makeAuthority("test guest CA");
  const identities = ["client/operator", "client/viewer", "svc/caddy", "svc/nats", "svc/vm-launcher", "guest/demo/1/1"];
  for (const name of identities) await assert.rejects(connectAs(t, name), /Authorization|closed|reset/i, name);
  await assert.rejects(connectAs(t, "svc/vm", { authority: guestCa }), "another authority's vm");
  const old = new Date(Date.now() - 400 * 86_400_000);
  await assert.rejects(connectAs(t, "svc/vm", { now: old }), "an expired vm");
  assert.ok(ground !== undefined);
  const servers = [`127.0.0.1:${ground.port}`];
  const ca = ground.platform.certificatePem;
  for (const more of [{}, { user: ground.uriOf("svc/vm"), pass: "" }, { token: "x" }]) {
    await assert.rejects(connect({ servers, reconnect: false, tls: { ca }, ...more }), "no certificate");
    await assert.rejects(connect({ servers, reconnect: false, tls: null, ...more }), "no TLS");
  }
  await assert.doesNotReject(connectAs(t, "svc/vm"));
});

test("a message larger than 64 KiB ends the connection and reaches nobody", { skip }, async (t) => {
  const observer = await connectAs(t, "svc/observer");
  const sizes: number[] = [];
  observer.subscribe("vm.v1.>", { callback: (_, { data }) => void sizes.push(data.length) });
  await observer.flush();
  const vm = await connectAs(t, "svc/vm");
  assert.equal(vm.info?.max_payload, maxPayloadBytes);
  vm.publish("vm.v1.demo.large", Buffer.alloc(maxPayloadBytes));
  await vm.flush();
  // The client believes what the broker tells it; one that does not is cut off.
  vm.info.max_payload = 1024 * 1024;
  vm.publish("vm.v1.demo.large", Buffer.alloc(maxPayloadBytes + 1));
  await vm.closed();
  await observer.flush();
  assert.deepEqual(sizes, [maxPayloadBytes]);
});

test("a renewed certificate is shown after SIGHUP, and no connection or message is lost", { skip }, async (t) => {
  const observer = await connectAs(t, "svc/observer");
  const heard: number[] = [];
  observer.subscribe("vm.v1.>", { callback: () => void heard.push(1) });
  await observer.flush();
  const vm = await connectAs(t, "svc/vm");
  const lost: string[] = [];
  for (const connection of [observer, vm]) void connection.closed().then(() => lost.push("a connection"));
  let sent = 0;
  for (let round = 0; round < 20; round += 1) {
    const serial = await ground?.renew();
    const isShown = async () => {
      vm.publish("vm.v1.demo.counted", "{}");
      sent += 1;
      return (await ground?.shownSerial()) === serial ? true : undefined;
    };
    await waitFor("the new certificate", isShown, { timeoutMs: 5000, intervalMs: 20 });
  }
  await vm.flush();
  await observer.flush();
  assert.deepEqual(lost, []);
  assert.equal(heard.length, sent);
  t.diagnostic(`20 renewals, ${sent} messages, 0 lost`);
});

/** What the broker refused, as `<operation> <subject>`. */
function refusalsOf(connection: NatsConnection): Set<string> {
  const refused = new Set<string>();
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type !== "error") continue;
      const { error } = status;
      if (error instanceof PermissionViolationError) refused.add(`${error.operation} ${error.subject}`);
    }
  })();
  return refused;
}
