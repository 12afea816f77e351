import { type IncomingMessage, request } from "node:http";
import type { Json } from "./canonical-json.ts";

/** Where an admin API listens: its Unix socket, or (only when somebody moved it) a TCP port on loopback. */
export type AdminEndpoint = { readonly socketPath: string } | { readonly host: string; readonly port: number };

/** Nothing answers at the endpoint: Caddy is not running, or its admin API has been moved or is not ours to open. */
export class AdminUnreachable extends Error {
  override readonly name = "AdminUnreachable";
}

/** The admin API answered, and said no; the message is Caddy's own, cut at 1 KiB. */
export class AdminRefused extends Error {
  override readonly name = "AdminRefused";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const timeoutMs = 5000;
const maxAnswerBytes = 1024 * 1024;

/** Caddy's running configuration; `null` before anything was loaded. Throws AdminUnreachable or AdminRefused. */
export async function readConfig(endpoint: AdminEndpoint): Promise<Json> {
  const text = await exchange(endpoint, "GET", "/config/", "");
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new AdminRefused(200, `answer is no JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * Replaces the whole configuration. On return it runs; if Caddy refuses it, the one before goes on running and AdminRefused
 * is thrown. Loads even what is equal to the running configuration, so that certificate files are read again.
 */
export async function loadConfig(endpoint: AdminEndpoint, config: Json): Promise<void> {
  await exchange(endpoint, "POST", "/load", JSON.stringify(config));
}

/** Root certificate, PEM, of the authority that Caddy makes for itself. Throws AdminUnreachable or AdminRefused. */
export async function readInternalRoot(endpoint: AdminEndpoint): Promise<string> {
  const answer = JSON.parse(await exchange(endpoint, "GET", "/pki/ca/local", "")) as { root_certificate: string };
  return answer.root_certificate;
}

async function exchange(endpoint: AdminEndpoint, method: "GET" | "POST", path: string, body: string): Promise<string> {
  // Over a Unix socket Caddy 2.6 accepts only an empty Host, unless its configuration names origins.
  const host =
    "socketPath" in endpoint
      ? ""
      : `${endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host}:${endpoint.port}`;
  try {
    return await exchangeAs(endpoint, method, path, body, host);
  } catch (error) {
    if (error instanceof AdminRefused && error.status === 403 && host === "") {
      return await exchangeAs(endpoint, method, path, body, "localhost");
    }
    throw error;
  }
}

function exchangeAs(
  endpoint: AdminEndpoint,
  method: "GET" | "POST",
  path: string,
  body: string,
  host: string,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = {
    Host: host,
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "must-revalidate",
  };
  const signal = AbortSignal.timeout(timeoutMs);
  // With setHost Node puts "localhost" in place of an empty Host.
  const outgoing = request({ ...endpoint, method, path, headers, setHost: false, agent: false, signal }, (response) => {
    readAnswer(response).then((text) => {
      if (response.statusCode === 200) resolve(text);
      else
        reject(
          new AdminRefused(response.statusCode ?? 0, `caddy answered ${response.statusCode}: ${text.slice(0, 1024)}`),
        );
    }, reject);
  });
  outgoing.on("error", (error) => reject(new AdminUnreachable(error.message, { cause: error })));
  outgoing.end(body);
  return promise;
}

async function readAnswer(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes)
      throw new AdminRefused(response.statusCode ?? 0, `answer is over ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
