import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { agentAccess, type Call, callingServices, decideAccess, serviceOf } from "./access.ts";

const domain = "lobsterd.test";
const uri = (service: string) => `spiffe://${domain}/svc/${service}`;
const path = (method: string) => `/lobsterd.agent.v1.AgentService/${method}`;
const call = (change: Partial<Call> & { path: string }): Call => ({
  service: "vm",
  standing: "valid",
  hasToken: true,
  ...change,
});

test("every method of the service has a row, and no row is left over", () => {
  assert.deepEqual(Object.keys(agentAccess).sort(), Object.keys(AgentService.method).sort());
});

test("vm may do everything but inject; secrets may inject and ask for health", () => {
  for (const { name } of AgentService.methods) {
    const byVm = decideAccess(call({ path: path(name) }));
    const bySecrets = decideAccess(call({ path: path(name), service: "secrets" }));
    assert.equal(byVm, name === "InjectSecrets" ? "denied" : "allowed", name);
    assert.equal(bySecrets, name === "InjectSecrets" || name === "Health" ? "allowed" : "denied", name);
  }
});

test("without its token no service may do anything", () => {
  for (const { name } of AgentService.methods) {
    for (const service of callingServices) {
      assert.notEqual(decideAccess(call({ path: path(name), service, hasToken: false })), "allowed", name);
    }
  }
});

test("a certificate that is not valid yet may set the clock, with the token, and nothing else", () => {
  for (const { name } of AgentService.methods) {
    const early = call({ path: path(name), standing: "early" });
    assert.equal(decideAccess(early) === "allowed", ["SetClock", "CreateIdentityKey"].includes(name), name);
    assert.notEqual(decideAccess({ ...early, hasToken: false }), "allowed", name);
    assert.notEqual(decideAccess({ ...early, service: "secrets" }), "allowed", name);
    assert.equal(decideAccess({ ...early, standing: "expired" }), "expired", name);
  }
});

test("nobody else is a service that may call", () => {
  const strangers = [
    uri("caddy"),
    uri("net"),
    `spiffe://${domain}/client/vm`,
    "spiffe://other.test/svc/vm",
    `${uri("vm")}/x`,
  ];
  for (const stranger of strangers) assert.equal(serviceOf(stranger, domain), undefined, stranger);
  assert.equal(serviceOf(uri("vm"), domain), "vm");
});

test("a path that is not a method is not looked up", () => {
  const names = ["constructor", "Constructor", "health", "", "Health/"].map(path);
  for (const wrong of ["/", "/health", ...names]) {
    assert.equal(decideAccess(call({ path: wrong })), "unknown-method", wrong);
  }
});
