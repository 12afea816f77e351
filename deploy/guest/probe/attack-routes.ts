/**
 * `POST` routes of what an attacker who is root in the guest can do, each a JSON object in and one out. A command takes half a
 * second to start under emulation, so what attacks do thousands of times is done in this process. Only in the image made for tests.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendJson } from "../gateway/send-json.ts";
import { exchangeFrames } from "./frames.ts";
import { keepWriting } from "./keep-writing.ts";
import { remember } from "./remember.ts";
import { runCommand } from "./run.ts";
import { connectAll, flood, hold, use } from "./sockets.ts";

const maximumBodyBytes = 1024 * 1024;

type Attack = (parameters: never) => Promise<unknown>;

/** Parameters are what the tests send: they are typed at their end and not checked here. */
const attacks: Readonly<Record<string, Attack>> = {
  "/run": runCommand,
  "/frames": exchangeFrames,
  "/connect": connectAll,
  "/flood": flood,
  "/hold": hold,
  "/use": use,
  "/remember": remember,
  "/keep-writing": keepWriting,
};

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

/** Answers the routes above; every other request is the gateway's. */
export function attackRoutes(request: IncomingMessage, response: ServerResponse): boolean {
  const attack = attacks[request.url ?? ""];
  if (request.method !== "POST" || attack === undefined) return false;
  readBody(request)
    .then((text) => attack(JSON.parse(text) as never))
    .then((result) => sendJson(response, 200, result))
    .catch((error: unknown) =>
      sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) }),
    );
  return true;
}
