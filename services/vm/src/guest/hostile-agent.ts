/** A guest's agent that answers with bytes of a test's choice, over the real TLS and HTTP/2 of a guest that is who it has to be. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import type { TestLeaf } from "@lobsterd/chassis/testing-certificates.ts";

/** What is done with one call: its method's name, its `authorization` header, and the stream to answer on. */
export type Answer = (stream: ServerHttp2Stream, call: { method: string; authorization: string }) => void;

export interface HostileAgent {
  readonly port: number;
  close(): void;
}

export async function hostileAgent(
  host: string,
  port: number,
  { leaf, platformCaPath }: { leaf: TestLeaf; platformCaPath: string },
  answer: Answer,
): Promise<HostileAgent> {
  const server = createSecureServer({
    ...{ cert: readFileSync(leaf.certificatePath), key: readFileSync(leaf.keyPath), minVersion: "TLSv1.3" as const },
    ...{ ca: readFileSync(platformCaPath), requestCert: true, rejectUnauthorized: true },
  });
  const sessions = new Set<{ destroy(): void }>();
  server.on("session", (session) => sessions.add(session));
  server.on("sessionError", () => undefined); // the host cuts what it has enough of
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    stream.resume();
    const method = String(headers[":path"]).split("/").at(-1) ?? "";
    stream.once(
      "end",
      () => stream.destroyed || answer(stream, { method, authorization: String(headers.authorization) }),
    );
  });
  server.listen(port, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const session of sessions) session.destroy();
    },
  };
}

/** Answers with one gRPC message and the given trailers. */
export function answerWith(
  stream: ServerHttp2Stream,
  message: Uint8Array,
  trailers: Readonly<Record<string, string>> = { "grpc-status": "0" },
): void {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end(Buffer.concat([prefix, message]));
}
