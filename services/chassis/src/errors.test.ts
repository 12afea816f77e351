import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { codeName, defineErrors, reasonOf, toConnectError } from "./errors.ts";

const fail = defineErrors("vm.lobsterd", { TENANT_EXISTS: Code.AlreadyExists });

test("a declared failure keeps its code, reason, domain and metadata on the wire", () => {
  const wire = toConnectError(fail("TENANT_EXISTS", "tenant demo exists", { metadata: { tenant: "demo" } }));
  assert.equal(wire.code, Code.AlreadyExists);
  assert.equal(wire.rawMessage, "tenant demo exists");
  const [info] = wire.findDetails(ErrorInfoSchema);
  assert.deepEqual([info?.reason, info?.domain, info?.metadata], ["TENANT_EXISTS", "vm.lobsterd", { tenant: "demo" }]);
  assert.equal(reasonOf(wire), "TENANT_EXISTS");
});

test("an undeclared failure says nothing of itself", () => {
  const wire = toConnectError(new Error("/var/lib/secret is missing"));
  assert.equal(wire.code, Code.Internal);
  assert.equal(wire.rawMessage, "internal error");
  assert.equal(reasonOf(wire), "INTERNAL");
});

test("a refusal by another service is not the caller's refusal", () => {
  const remote = new ConnectError("no", Code.PermissionDenied);
  remote.isWireError = true;
  const wire = toConnectError(remote);
  assert.deepEqual(
    [wire.code, reasonOf(wire), wire.rawMessage],
    [Code.Internal, "DEPENDENCY_REFUSED", "internal error"],
  );
});

test("a failure of the library gets a reason once", () => {
  const wire = toConnectError(toConnectError(new ConnectError("too big", Code.ResourceExhausted)));
  assert.equal(reasonOf(wire), "RESOURCE_EXHAUSTED");
  assert.equal(wire.findDetails(ErrorInfoSchema).length, 1);
  assert.equal(codeName(Code.DeadlineExceeded), "DEADLINE_EXCEEDED");
});

test("an aborted step is a cancelled call", () => {
  assert.equal(toConnectError(new DOMException("stop", "AbortError")).code, Code.Canceled);
  assert.equal(toConnectError(new DOMException("late", "TimeoutError")).code, Code.DeadlineExceeded);
});
