import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { temporaryDirectory } from "../testing/small-disk.ts";
import { openHttpsStore } from "./https.ts";
import { joinNotes } from "./store.ts";

async function witness(context: TestContext, status: number) {
  const authority = testCertificates(temporaryDirectory(context));
  const { certificatePath, keyPath } = authority.issue("witness", ["spiffe://test/witness"]);
  const bodies: string[] = [];
  const files = { cert: readFileSync(certificatePath), key: readFileSync(keyPath) };
  const server = createServer(files, async (request, response) => {
    bodies.push(await Array.fromAsync(request.setEncoding("utf8")).then((parts) => parts.join("")));
    response.writeHead(status, { location: "/elsewhere" }).end("x".repeat(100_000));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/log`;
  return { bodies, url, caPath: authority.caPath };
}

describe("a witness URL", () => {
  it("gets the notes, and its 2xx says that they are kept", async (context) => {
    const { bodies, url, caPath } = await witness(context, 204);
    await openHttpsStore(url, caPath).put(["one\n", "two\n"], new AbortController().signal);
    assert.deepEqual(bodies, [joinNotes(["one\n", "two\n"])]);
  });

  for (const status of [302, 403, 500]) {
    it(`has not kept them if it answers ${status}`, async (context) => {
      const { url, caPath } = await witness(context, status);
      const put = openHttpsStore(url, caPath).put(["one\n"], new AbortController().signal);
      await assert.rejects(put, new RegExp(`answered ${status}`));
    });
  }

  it("gets nothing if its authority is another, and nothing once the service stops", async (context) => {
    const { bodies, url, caPath } = await witness(context, 204);
    await assert.rejects(openHttpsStore(url, undefined).put(["one\n"], new AbortController().signal), /certificate/);
    await assert.rejects(openHttpsStore(url, caPath).put(["one\n"], AbortSignal.abort()), { name: "AbortError" });
    assert.deepEqual(bodies, []);
  });
});
