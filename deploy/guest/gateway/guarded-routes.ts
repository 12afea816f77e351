import type { IncomingMessage, ServerResponse } from "node:http";
import { isBearer } from "./bearer.ts";
import { environmentDigests, readConfiguration, readSecrets, type Secrets, tokenName } from "./guest-files.ts";
import { sendJson } from "./send-json.ts";

export type GuardedPath = "/whoami" | "/places";

const routes: Readonly<Record<GuardedPath, (response: ServerResponse, secrets: Secrets) => Promise<void>>> = {
  "/whoami": async (response, { digests }) => {
    sendJson(response, 200, { ...(await readConfiguration()).configuration, secrets: digests });
  },
  "/places": async (response, { digests }) => {
    const { fields } = await readConfiguration();
    sendJson(response, 200, { files: digests, fields, environment: environmentDigests() });
  },
};

/** Answers who has the token. */
export async function answer(path: GuardedPath, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const secrets = await readSecrets();
  if (secrets.token === undefined || !isBearer(request.headers.authorization, secrets.token)) {
    response.setHeader("www-authenticate", "Bearer");
    sendJson(response, 401, { error: `a bearer token is needed: the value of ${tokenName}` });
    return;
  }
  await routes[path](response, secrets);
}
