import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import type { StackEnv } from "./stack-env.ts";

/** One answer of the HTTPS front. */
export interface FrontAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface FrontRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutMs?: number;
  /** Keeps connections open between requests; without it each request has its own. */
  readonly agent?: Agent;
}

const maxBodyBytes = 1024 * 1024;

/** Asks `https://<host>/` of a stack, with the certificate verified by the stack's authority. */
export function askFront(env: StackEnv, host: string, wish: FrontRequest = {}): Promise<FrontAnswer> {
  const [address = "", port = ""] = env.LOBSTERD_HTTPS.split(":");
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: address,
        port: Number(port),
        servername: host,
        ca: readFileSync(env.LOBSTERD_CA),
        method: wish.method ?? "GET",
        path: wish.path ?? "/",
        headers: { host: `${host}:${port}`, ...wish.headers },
        timeout: wish.timeoutMs ?? 10_000,
        agent: wish.agent ?? new Agent({ keepAlive: false }),
      },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBodyBytes) answer.destroy(new Error("the answer is larger than 1 MiB"));
          chunks.push(chunk);
        });
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: Buffer.concat(chunks).toString("utf8"),
          }),
        );
      },
    );
    call.on("timeout", () => call.destroy(new Error(`no answer within ${wish.timeoutMs ?? 10_000} ms`)));
    call.on("error", reject);
    call.end(wish.body);
  });
}

/** The name that people use for a tenant. */
export function hostOf(env: StackEnv, tenant: string): string {
  return `${tenant}.${env.LOBSTERD_DOMAIN}`;
}
