import { readFileSync } from "node:fs";
import { request } from "node:https";
import { type CheckpointStore, joinNotes } from "./store.ts";

const timeoutMs = 5000;

/**
 * Posts notes to a URL, as text. Any 2xx answer says that they are kept. The server is verified with `caPath`, or with the system's authorities; the
 * body of its answer is not read, since there is nothing in it to believe.
 */
export function openHttpsStore(url: string, caPath: string | undefined): CheckpointStore {
  const target = new URL(url);
  if (target.protocol !== "https:") throw new Error(`a witness is reached by https, not by ${target.protocol}`);
  const name = `url ${target.origin}${target.pathname}`;
  return {
    kind: "url",
    name,
    async put(notes, signal) {
      const body = Buffer.from(joinNotes(notes));
      const status = await post(target, body, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
        ...(caPath === undefined ? {} : { ca: readFileSync(caPath) }),
      });
      if (status < 200 || status > 299) throw new Error(`${name} answered ${status}`);
    },
  };
}

function post(url: URL, body: Buffer, options: { signal: AbortSignal; ca?: Buffer }): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const headers = { "content-type": "text/plain; charset=utf-8", "content-length": body.length };
  const call = request(url, { method: "POST", headers, agent: false, minVersion: "TLSv1.2", ...options }, (answer) => {
    resolve(answer.statusCode ?? 0);
    // Not followed, not read, not kept open.
    answer.destroy();
  });
  call.on("error", reject);
  call.end(body);
  return promise;
}
