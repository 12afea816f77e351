import assert from "node:assert/strict";
import { test } from "node:test";
import { brokerConfiguration, consumerSubjects } from "./broker.ts";
import { describeInstance, serviceNames } from "./instance.ts";

const text = brokerConfiguration(describeInstance("dev", "/checkout"));
const line = text.split("\n").find((one) => one.trim().startsWith("users: "));
const users: { user: string; permissions: { publish: { allow: string[] }; subscribe: { allow: string[] } } }[] =
  JSON.parse(line?.trim().slice("users: ".length) ?? "[]");

test("there is one user for each service and no other", () => {
  assert.deepEqual(
    users.map(({ user }) => user),
    serviceNames.map((name) => `spiffe://lobsterd.localhost/svc/${name}`),
  );
});

test("a service publishes its own events, makes its own stream and reads its own inbox", () => {
  for (const [index, name] of serviceNames.entries()) {
    const { publish, subscribe } = users[index]?.permissions ?? { publish: { allow: [] }, subscribe: { allow: [] } };
    assert.deepEqual(publish.allow, [`${name}.v1.>`, `$JS.API.STREAM.CREATE.LOBSTERD_${name.toUpperCase()}`]);
    assert.deepEqual(subscribe.allow, [`_INBOX_${name}.>`]);
  }
});

test("a consumer may be made under one name with one filter", () => {
  const subjects = consumerSubjects("proxy", "vm.v1.>");
  assert.equal(subjects.length, 4);
  for (const subject of subjects) assert.match(subject, /LOBSTERD_VM\.proxy-[0-9a-f]{12}(\.|$)/);
  assert.ok(subjects[0]?.endsWith(".vm.v1.>"));
});

test("certificates are demanded and decide who it is", () => {
  assert.match(text, /verify_and_map: true/);
  assert.match(text, /host: "127\.0\.0\.1"/);
});
