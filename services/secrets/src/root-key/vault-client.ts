import { readFileSync } from "node:fs";
import { Agent, type RequestOptions, request as send } from "node:https";
import { z } from "zod";
import { fail } from "../errors.ts";
import { PrivateFileError, readPrivateFile } from "./private-file.ts";

const maxAnswerBytes = 64 * 1024;
const maxTokenBytes = 4096;

/** What the server said no to. `message` is its first error, bounded, for recognising and not for showing. */
export class VaultRefusal extends Error {
  override readonly name = "VaultRefusal";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message.slice(0, 256));
    this.status = status;
  }
}

/**
 * Calls of the HTTP API of Vault and OpenBao. `path` is what follows `/v1/`. Resolves with the answer's `data`, or `undefined` for an empty
 * answer. Throws `VaultRefusal` for 400 and 404, which are about the request, and ROOT_KEY_UNAVAILABLE for everything else: no connection, another
 * server's certificate, no permission, sealed, standby, too slow, or an answer that is not the API's.
 */
export interface VaultClient {
  call(method: "GET" | "POST" | "DELETE", path: string, body?: Readonly<Record<string, unknown>>): Promise<unknown>;
}

const dataSchema = z.object({ data: z.unknown() });
const errorsSchema = z.object({ errors: z.array(z.string()) });

/** Authority and token are read for each request, so that a renewed one is used without a restart. */
export function openVaultClient(options: {
  readonly address: string;
  readonly caPath: string;
  readonly tokenPath: string;
  readonly namespace?: string | undefined;
  readonly timeoutMs: number;
}): VaultClient {
  const { address, caPath, tokenPath, namespace, timeoutMs } = options;
  // No connection is kept: an authority that was exchanged must not live on in one.
  const agent = new Agent({ keepAlive: false, maxSockets: 16 });

  function requestOptions(method: string, size: number): RequestOptions {
    const token = readPrivateFile(tokenPath, { minBytes: 1, maxBytes: maxTokenBytes });
    try {
      return {
        method,
        agent,
        ca: readFileSync(caPath),
        minVersion: "TLSv1.2",
        signal: AbortSignal.timeout(timeoutMs),
        headers: {
          // A header is a string, and this one stays in memory until it is reused: see the limits in the README.
          "x-vault-token": token.toString("latin1").trim(),
          "x-vault-request": "true",
          ...(namespace === undefined ? {} : { "x-vault-namespace": namespace }),
          ...(size === 0 ? {} : { "content-type": "application/json", "content-length": `${size}` }),
        },
      };
    } finally {
      token.fill(0);
    }
  }

  async function exchange(method: string, path: string, body: Buffer): Promise<{ status: number; answer: Buffer }> {
    const call = send(`${address}/v1/${path}`, requestOptions(method, body.length));
    call.end(body.length === 0 ? undefined : body);
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; answer: Buffer }>();
    call.once("error", reject);
    call.once("response", (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > maxAnswerBytes) call.destroy(new Error(`the answer has more than ${maxAnswerBytes} bytes`));
      });
      response.once("error", reject);
      response.once("end", () => resolve({ status: response.statusCode ?? 0, answer: Buffer.concat(chunks) }));
    });
    return await promise;
  }

  return {
    async call(method, path, body) {
      const sent = body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
      try {
        const { status, answer } = await exchange(method, path, sent);
        try {
          return readAnswer(status, answer);
        } finally {
          answer.fill(0);
        }
      } catch (error) {
        if (error instanceof VaultRefusal) throw error;
        const detail = error instanceof PrivateFileError ? error : describe(error);
        throw fail("ROOT_KEY_UNAVAILABLE", "the key server cannot be used", { cause: detail });
      } finally {
        sent.fill(0);
      }
    },
  };
}

function readAnswer(status: number, answer: Buffer): unknown {
  if (status === 204 || (status === 200 && answer.length === 0)) return undefined;
  if (status === 200) return dataSchema.parse(JSON.parse(answer.toString("utf8"))).data;
  const said = parseErrors(answer);
  // 404 without the API's own body is another server or a path that is not mounted.
  if (said !== undefined && (status === 400 || status === 404)) throw new VaultRefusal(status, said.join("; "));
  throw new Error(`the key server answered ${status}`);
}

function parseErrors(answer: Buffer): string[] | undefined {
  try {
    return errorsSchema.parse(JSON.parse(answer.toString("utf8"))).errors;
  } catch {
    // Whatever is no JSON of this form was not said by the API.
    return undefined;
  }
}

/** A parse error quotes what it could not parse, and an answer may hold a key: only its kind is kept. */
function describe(error: unknown): Error {
  if (error instanceof z.ZodError || error instanceof SyntaxError) return new Error("the answer is not the API's");
  return error instanceof Error ? error : new Error("unknown failure");
}
