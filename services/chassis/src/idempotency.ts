import { createHash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { defineErrors } from "./errors.ts";
import { transaction, transactionWithoutSync } from "./sqlite.ts";

const maxAnswers = 10_000;

const fail = defineErrors("lobsterd", { REQUEST_ID_REUSED: Code.InvalidArgument });

/** Answers by request id, kept for the last 10,000 requests. */
export interface RequestLog {
  /**
   * Runs `fn` once per `requestId`. The same id and request again gives the stored answer; while the first still runs, its
   * answer is shared. The same id with another method or request throws REQUEST_ID_REUSED. A failure is not stored, so
   * that a retry tries again. An empty `requestId` always runs `fn`. Only a digest of `request` is kept; a caller whose
   * request holds a secret passes the bytes of a copy without it.
   */
  run<Desc extends DescMessage>(
    requestId: string,
    method: string,
    request: Uint8Array,
    schema: Desc,
    fn: () => Promise<MessageShape<Desc>>,
  ): Promise<MessageShape<Desc>>;
}

/** What a stored answer outlives. Without the wait for the disk a call is faster by one commit, and a power loss may forget its answer. */
export type AnswersOutlive = "power-loss" | "process";

/** Opens the request log in the service's own database; it makes its own table. */
export function openRequestLog(database: DatabaseSync, outlive: AnswersOutlive = "power-loss"): RequestLog {
  const commit = outlive === "process" ? transactionWithoutSync : transaction;
  database.exec(`CREATE TABLE IF NOT EXISTS chassis_request (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, answer BLOB NOT NULL
  ) STRICT`);
  const find = database.prepare("SELECT digest, answer FROM chassis_request WHERE request_id = ?");
  const insert = database.prepare("INSERT INTO chassis_request (request_id, digest, answer) VALUES (?, ?, ?)");
  const prune = database.prepare("DELETE FROM chassis_request WHERE sequence <= ?");
  const running = new Map<string, { digest: string; answer: Promise<Uint8Array> }>();

  async function execute(requestId: string, digest: string, answer: Promise<Uint8Array>): Promise<Uint8Array> {
    try {
      const bytes = await answer;
      commit(database, () => {
        const { lastInsertRowid } = insert.run(requestId, digest, bytes);
        prune.run(Number(lastInsertRowid) - maxAnswers);
      });
      return bytes;
    } finally {
      running.delete(requestId);
    }
  }

  return {
    async run(requestId, method, request, schema, fn) {
      if (requestId === "") return await fn();
      const digest = createHash("sha256").update(`${method}\0`).update(request).digest("hex");
      const stored = find.get(requestId);
      if (stored !== undefined) {
        refuseReuse(requestId, digest, stored.digest);
        const { answer } = stored;
        if (!(answer instanceof Uint8Array)) throw new TypeError("stored answer is not a blob");
        return fromBinary(schema, answer);
      }
      let entry = running.get(requestId);
      if (entry === undefined) {
        const answer = execute(
          requestId,
          digest,
          fn().then((message) => toBinary(schema, message)),
        );
        entry = { digest, answer };
        running.set(requestId, entry);
      } else {
        refuseReuse(requestId, digest, entry.digest);
      }
      return fromBinary(schema, await entry.answer);
    },
  };
}

function refuseReuse(requestId: string, digest: string, known: unknown): void {
  if (digest !== known) throw requestIdReused(requestId);
}

/** For services that keep more of a request than its answer. */
export function requestIdReused(requestId: string): Error {
  return fail("REQUEST_ID_REUSED", "request_id was used for another request", {
    metadata: { request_id: requestId, field: "request_id" },
  });
}
