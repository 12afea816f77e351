import assert from "node:assert/strict";
import { test } from "node:test";
import { listeningPorts } from "./health.ts";
import { mountsBelow } from "./mounts.ts";
import { capabilitiesOf, identifyProcess, isAlive, parseStat, parseStatus } from "./proc.ts";

const status = `Name:\tnode
State:\tS (sleeping)
Uid:\t502\t502\t502\t502
Gid:\t602\t602\t602\t602
Groups:\t700 
CapInh:\t0000000000201000
CapPrm:\t0000000000201000
CapEff:\t0000000000201000
CapBnd:\t0000000000201000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
`;

test("a status is read into names and numbers", () => {
  const parsed = parseStatus(status);
  assert.deepEqual(parsed.capabilities.permitted, ["NET_ADMIN", "SYS_ADMIN"]);
  assert.deepEqual(parsed.capabilities.ambient, []);
  assert.deepEqual(parsed.uids, [502, 502, 502, 502]);
  assert.deepEqual(parsed.groups, [700]);
  assert.equal(parsed.noNewPrivileges, true);
});

test("a status without a field is an error, not a process without rights", () => {
  assert.throws(() => parseStatus(status.replace("CapBnd", "CapXyz")), /CapBnd/);
});

test("a capability beyond the list is named by its number", () => {
  assert.deepEqual(capabilitiesOf("0000020000000001"), ["CAP_41", "CHOWN"]);
});

test("a process is known by its start as well as its pid", () => {
  const self = identifyProcess(process.pid);
  assert.ok(self !== undefined && isAlive(self));
  assert.equal(isAlive({ pid: process.pid, startTicks: "1" }), false);
});

test("a killed process has ended when its last thread has, not when its first one is a zombie", () => {
  const stat = (state: string, threads: number) =>
    `4242 (a) (b) ${state} 1 4242 4242 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 ${threads} 0 777 0 0`;
  const found = { pid: 4242, startTicks: "777" };
  assert.deepEqual(parseStat(4242, stat("S", 1)), found);
  assert.deepEqual(parseStat(4242, stat("Z", 2)), found);
  assert.equal(parseStat(4242, stat("Z", 1)), undefined);
  assert.equal(parseStat(4242, stat("X", 1)), undefined);
});

test("mounts are found below a directory and not beside it", () => {
  const line = (path: string) => `36 35 98:0 / ${path} rw - tmpfs tmpfs rw`;
  const table = ["/run/lobsterd/dev", "/run/lobsterd/dev/app", "/run/lobsterd/dev2", "/run/lobsterd/dev/a\\040b"]
    .map(line)
    .join("\n");
  assert.deepEqual(mountsBelow("/run/lobsterd/dev", table), [
    "/run/lobsterd/dev",
    "/run/lobsterd/dev/app",
    "/run/lobsterd/dev/a b",
  ]);
});

test("only listening sockets count", () => {
  const table = `  sl  local_address rem_address   st
   0: 0100007F:107E 00000000:0000 0A 00000000:00000000
   1: 0100007F:10DE 0100007F:9C40 01 00000000:00000000
`;
  assert.deepEqual(listeningPorts(table), [4222]);
});
