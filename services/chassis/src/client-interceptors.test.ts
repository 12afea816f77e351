import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMethodUnary } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createContextValues, type UnaryRequest, type UnaryResponse } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { lostServerIsUnavailable, retryIdempotent } from "./client-interceptors.ts";

function requestOf(
  method: DescMethodUnary,
  fields: Record<string, unknown> = {},
  signal = new AbortController().signal,
): UnaryRequest {
  return {
    ...{ stream: false, method, service: method.parent, requestMethod: "POST", url: "https://x", signal },
    ...{ header: new Headers(), contextValues: createContextValues(), message: create(method.input, fields) },
  };
}

async function attemptsOf(request: UnaryRequest, code: Code, succeedAt = 3): Promise<number> {
  let attempts = 0;
  const call = retryIdempotent(async () => {
    attempts += 1;
    if (attempts < succeedAt) throw new ConnectError("no", code);
    const { method, service } = request;
    const answer: UnaryResponse = {
      ...{ stream: false, method, service, message: create(method.output) },
      ...{ header: new Headers(), trailer: new Headers() },
    };
    return answer;
  });
  await call(request).catch(() => undefined);
  return attempts;
}

test("only what may be repeated is repeated, and only when the server was away", async () => {
  const idempotent = AuditService.method.queryRecords;
  const unmarked = {
    ...SecretService.method.putSecret,
    idempotency: MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN,
  };
  assert.equal(await attemptsOf(requestOf(idempotent), Code.Unavailable), 3);
  assert.equal(await attemptsOf(requestOf(idempotent), Code.Internal), 1);
  assert.equal(await attemptsOf(requestOf(SecretService.method.createDataKey), Code.Unavailable), 1);
  assert.equal(await attemptsOf(requestOf(unmarked), Code.Unavailable), 1);
  const withId = { requestId: "4b6f7e0e-0000-7000-8000-000000000000" };
  assert.equal(await attemptsOf(requestOf(unmarked, withId), Code.Unavailable), 3);
});

test("repetition ends with the call's deadline", async () => {
  const expired = new AbortController();
  const request = requestOf(AuditService.method.queryRecords, {}, expired.signal);
  const pending = attemptsOf(request, Code.Unavailable, 100);
  setImmediate(() => expired.abort(new ConnectError("late", Code.DeadlineExceeded)));
  assert.equal(await pending, 1);
});

test("a lost server is unavailable, whatever the transport calls it", async () => {
  const lost = (code: Code, cause?: unknown) => new ConnectError("lost", code, undefined, undefined, cause);
  const codeFor = async (error: ConnectError, signal?: AbortSignal) => {
    const call = lostServerIsUnavailable(() => Promise.reject(error));
    return await call(requestOf(AuditService.method.queryRecords, {}, signal)).then(
      () => assert.fail(),
      (reason: unknown) => ConnectError.from(reason).code,
    );
  };
  assert.equal(await codeFor(lost(Code.Internal, { code: "ENOENT" })), Code.Unavailable);
  assert.equal(await codeFor(lost(Code.Canceled)), Code.Unavailable);
  assert.equal(await codeFor(lost(Code.Aborted, { code: "ECONNRESET" })), Code.Unavailable);
  assert.equal(await codeFor(lost(Code.Internal)), Code.Internal);
  assert.equal(await codeFor(lost(Code.Canceled), AbortSignal.abort()), Code.Canceled, "our own cancellation");
  const answered = lost(Code.Aborted);
  answered.isWireError = true;
  assert.equal(await codeFor(answered), Code.Aborted, "the server's own answer");
});
