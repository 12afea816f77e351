/** Starts the OpenClaw gateway as this guest's workload: writes its configuration, hands it the tenant's token, and becomes it. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openClawConfiguration } from "./configuration.ts";

const configurationPath = "/run/workload/configuration.json";
const tokenPath = "/run/secrets/gateway-token";
const program = "/opt/workload/node_modules/openclaw/openclaw.mjs";
const node = "/usr/bin/node";
const port = 8080;

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** What the last gateway on this disk kept; a disk that is new, or a file that was cut off, has nothing. */
function readKept(path: string): unknown {
  try {
    return readJson(path);
  } catch (error) {
    process.stderr.write(`openclaw: starting with new settings: ${error instanceof Error ? error.message : error}\n`);
    return undefined;
  }
}

const home = process.env.HOME ?? "/home/workload";
const state = join(home, ".openclaw");
mkdirSync(state, { recursive: true, mode: 0o700 });
const settingsPath = join(state, "openclaw.json");
const settings = openClawConfiguration(readKept(settingsPath), readJson(configurationPath), port);
writeFileSync(`${settingsPath}.new`, `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 });
renameSync(`${settingsPath}.new`, settingsPath);

const environment = {
  ...process.env,
  OPENCLAW_STATE_DIR: state,
  // The only way in that the gateway has for a token; the environment of a process is its own user's alone.
  OPENCLAW_GATEWAY_TOKEN: readFileSync(tokenPath, "utf8"),
  // The agent restarts its workload; the image is updated by the platform; there is nobody to find on this network.
  OPENCLAW_NO_RESPAWN: "1",
  OPENCLAW_NO_AUTO_UPDATE: "1",
  OPENCLAW_DISABLE_BONJOUR: "1",
};
process.execve?.(node, [node, program, "gateway", "--port", String(port), "--auth", "token"], environment);
