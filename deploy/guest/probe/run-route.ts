import { execFile } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendJson } from "../gateway/server.ts";

const maximumBodyBytes = 64 * 1024;
const maximumOutputBytes = 256 * 1024;
const maximumTimeoutMs = 60_000;

type Run = { readonly command: readonly [string, ...string[]]; readonly timeoutMs: number };

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    if (bytes > maximumBodyBytes) throw new Error("body is too large");
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseRun(text: string): Run {
  const { command, timeoutMs = 10_000 } = JSON.parse(text) as { command?: unknown; timeoutMs?: unknown };
  if (!Array.isArray(command) || command.length === 0 || !command.every((part) => typeof part === "string")) {
    throw new Error("command is a list of strings");
  }
  if (typeof timeoutMs !== "number" || !(timeoutMs > 0 && timeoutMs <= maximumTimeoutMs))
    throw new Error("timeoutMs is 1 to 60000");
  return { command: command as unknown as Run["command"], timeoutMs };
}

function run({ command, timeoutMs }: Run): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const [file, ...rest] = command;
  return new Promise((resolve) => {
    const child = execFile(
      file,
      rest,
      { timeout: timeoutMs, maxBuffer: maximumOutputBytes },
      (error, stdout, stderr) => {
        // -1: it was not found, printed too much, or was killed.
        resolve({
          exitCode: child.exitCode ?? -1,
          stdout,
          stderr: error === null ? stderr : `${stderr}${error.message}`,
        });
      },
    );
  });
}

/** `POST /run {command, timeoutMs}`: what an attacker who owns the workload could run. Only in the image made for tests. */
export function runRoute(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== "POST" || request.url !== "/run") return false;
  readBody(request)
    .then((text) => run(parseRun(text)))
    .then((result) => sendJson(response, 200, result))
    .catch((error: unknown) =>
      sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) }),
    );
  return true;
}
