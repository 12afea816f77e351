import { request } from "node:http";

/** Asks a workload on loopback for its health path: true when it answers 2xx within `timeoutMs`. Never throws. */
export function probeHealth(target: { port: number; path: string; timeoutMs: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({
      host: "127.0.0.1",
      port: target.port,
      path: target.path,
      agent: false,
      maxHeaderSize: 8192,
      signal: AbortSignal.timeout(target.timeoutMs),
    });
    probe.on("response", (response) => {
      const status = response.statusCode ?? 0;
      // The body is the workload's to choose, so it is not read.
      response.destroy();
      resolve(status >= 200 && status < 300);
    });
    // A refused or reset connection and a timeout are the answer "not healthy".
    probe.on("error", () => resolve(false));
    probe.end();
  });
}
