import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { agentAccess, decideAccess } from "./access.ts";

const domain = "lobsterd.test";
const uri = (service: string) => `spiffe://${domain}/svc/${service}`;
const path = (method: string) => `/lobsterd.agent.v1.AgentService/${method}`;

test("every method of the service has a row, and no row is left over", () => {
  assert.deepEqual(Object.keys(agentAccess).sort(), Object.keys(AgentService.method).sort());
});

test("vm may do everything but inject; secrets may inject and ask for health", () => {
  for (const { name } of AgentService.methods) {
    const byVm = decideAccess(path(name), uri("vm"), domain);
    const bySecrets = decideAccess(path(name), uri("secrets"), domain);
    assert.equal(byVm, name === "InjectSecrets" ? "denied" : "allowed", name);
    assert.equal(bySecrets, name === "InjectSecrets" || name === "Health" ? "allowed" : "denied", name);
  }
});

test("nobody else may do anything", () => {
  const strangers = [
    uri("caddy"),
    uri("net"),
    `spiffe://${domain}/client/vm`,
    "spiffe://other.test/svc/vm",
    `${uri("vm")}/x`,
  ];
  for (const { name } of AgentService.methods) {
    for (const stranger of strangers) assert.equal(decideAccess(path(name), stranger, domain), "denied", stranger);
    assert.equal(decideAccess(path(name), undefined, domain), "unauthenticated");
  }
});

test("a path that is not a method is not looked up", () => {
  for (const wrong of [
    "/",
    "/health",
    path("constructor"),
    path("Constructor"),
    path("health"),
    path(""),
    `${path("Health")}/`,
  ]) {
    assert.equal(decideAccess(wrong, uri("vm"), domain), "unknown-method", wrong);
  }
});
