/**
 * Caddy's whole configuration as a pure function of settings that change only with the instance, never with a tenant.
 * Written for Caddy 2.6.2 (Debian 12).
 *
 *  1. Every document carries the admin block: a load without one removes the Unix socket and opens TCP 127.0.0.1:2019.
 *  2. One route serves all tenants. A host name is served only if the whole of it matches `hostPattern` (so that nothing else
 *     ever reaches a placeholder) and an empty file with the tenant's name lies in the names directory.
 *  3. The guest is dialled by name. SNI and the name to verify come from the dialled name, so a wrong address meets a wrong
 *     certificate and ends in 502. `server_name` with a placeholder does the same but gives up pooling (facts 5.3).
 *  4. An extra host name is served if a directory with its name holds a file; the file's name is the tenant that is dialled.
 *  5. Withdrawing a name takes effect on the next request, whatever connections are pooled: the file is looked up first.
 *  6. A tenant with an empty file in the directory of sleepers is not dialled before `proxy` said on its wake socket that it is awake.
 */

import { asleepDirectory, extraHostsDirectory } from "../directory/name-files.ts";
import { extraHostPattern, guestZone, hostPattern, tenantPattern } from "../tenant-name.ts";
import type { Json } from "./canonical-json.ts";
import { certificateApps, certificateSelection, type FrontCertificates, isOnDemand } from "./front-certificates.ts";

const requestHost = "{http.request.host}";

/** Paths are as Caddy's user sees them. */
export type CaddySettings = {
  readonly domain: string;
  readonly adminSocketPath: string;
  /** Caddy network addresses: `unix//run/x.sock`, `0.0.0.0:443`, `:443`. */
  readonly httpsListen: readonly string[];
  readonly redirectListen: readonly string[];
  /** The port in `https://<tenant>.<domain>:<port>/` as people type it; 443 is left out of redirects. */
  readonly publicHttpsPort: number;
  readonly certificates: FrontCertificates;
  readonly guestCaPath: string;
  readonly clientCertificatePath: string;
  readonly clientKeyPath: string;
  /** Differs whenever certificate files were made anew: Caddy reads them when it loads a configuration, and at no other time. */
  readonly certificatesStamp?: string;
  readonly namesDirectory: string;
  /** Where `proxy` is asked about a sleeping tenant. */
  readonly wakeSocketPath: string;
  readonly resolverPort: number;
  readonly guestPort: number;
  readonly limits: CaddyLimits;
};

export type CaddyLimits = {
  readonly maxHeaderBytes: number;
  /** Headers of a guest's answer, which Caddy holds in memory whole. */
  readonly maxAnswerHeaderBytes: number;
  readonly maxBodyBytes: number;
  readonly readHeaderTimeoutMs: number;
  /** For a whole request, body and all; answers and WebSockets may take longer. */
  readonly readTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly dialTimeoutMs: number;
  readonly responseHeaderTimeoutMs: number;
  /** For a sleeping tenant to be awake. */
  readonly holdLimitMs: number;
  /** How long an unused connection to a guest is kept. */
  readonly upstreamIdleMs: number;
};

/** The document that `load` sends and `GET /config/` has to give back. */
export function caddyConfig(settings: CaddySettings): Json {
  return {
    admin: { listen: `unix/${settings.adminSocketPath}`, config: { persist: false } },
    logging: logging(),
    apps: {
      http: {
        ...(settings.certificatesStamp === undefined ? {} : { "@id": `certificates-${settings.certificatesStamp}` }),
        // No grace_period: Caddy 2.6.2 cancels its own at once and cuts the requests that run at a load; without, it ends them in the background.
        servers: { https: httpsServer(settings), redirect: redirectServer(settings), ...askServer(settings) },
      },
      ...certificateApps(settings.certificates, settings.domain),
    },
  };
}

// With routes for errors Caddy tells their cause (refused, wrong certificate, no such name) at level DEBUG of one logger only.
// What a tenant's user asked for (paths, tokens in queries, headers) is not ours to keep. The outside can cause an error with
// each request, so their log is sampled.
function logging(): Json {
  const removed = ["request>uri", "request>headers"].map((field) => [field, { filter: "delete" }]);
  const encoder = { format: "filter", wrap: { format: "json" }, fields: Object.fromEntries(removed) };
  const nanosecondsPerSecond = 1_000_000_000;
  return {
    logs: {
      default: { level: "INFO", encoder, exclude: ["http.log.error"] },
      errors: {
        level: "DEBUG",
        encoder,
        include: ["http.log.error"],
        sampling: { interval: nanosecondsPerSecond, first: 10, thereafter: 1000 },
      },
    },
  };
}

function httpsServer(settings: CaddySettings): Json {
  const { limits } = settings;
  return {
    listen: [...settings.httpsListen],
    // Debian builds Caddy without HTTP/3; another build would open a UDP port that nothing here limits.
    protocols: ["h1", "h2"],
    automatic_https: { disable: true },
    // A connection opened for one tenant must not carry requests for another: 421 makes a browser open its own.
    strict_sni_host: true,
    tls_connection_policies: [
      { ...certificateSelection(settings.certificates), protocol_min: "tls1.2", alpn: ["h2", "http/1.1"] },
    ],
    max_header_bytes: limits.maxHeaderBytes,
    read_header_timeout: duration(limits.readHeaderTimeoutMs),
    read_timeout: duration(limits.readTimeoutMs),
    idle_timeout: duration(limits.idleTimeoutMs),
    routes: [
      { handle: [frontHeaders()] },
      ...refusedRequests(),
      ...publishedRoutes(settings, requestHost, [
        { handler: "request_body", max_size: limits.maxBodyBytes },
        withoutForgedHeaders(),
        ifAsleep(settings, [wake(settings)]),
        guestProxy(settings),
      ]),
      refuse(404, "NO_SUCH_HOST"),
    ],
    errors: { routes: [{ handle: [frontHeaders()] }, ...errorRoutes(settings)] },
  };
}

/**
 * What nobody behind the front is asked for. CONNECT and TRACE speak to proxies. Caddy would pass any upgrade on (h2c among them), and
 * after it the bytes of a connection are no longer requests that anything here looks at. The placeholder joins all Upgrade headers.
 */
function refusedRequests(): Json[] {
  const isWebSocket = { vars_regexp: { "{http.request.header.Upgrade}": { pattern: "^(?i:websocket)$" } } };
  return [
    { match: [{ method: ["CONNECT", "TRACE"] }], ...refuse(405, "METHOD_NOT_ALLOWED") },
    { match: [{ header: { Upgrade: ["*"] }, not: [isWebSocket] }], ...refuse(400, "UPGRADE_NOT_SUPPORTED") },
  ];
}

/**
 * Takes away what only a proxy may say of a client, before Caddy says it itself, and every name with an underscore: workloads that
 * turn headers into variables read `X_Forwarded_For` as `X-Forwarded-For`.
 */
function withoutForgedHeaders(): Json {
  const aboutClients = ["Forwarded", "X-Forwarded-*", "X-Real-Ip", "*-Client-Ip", "*-Connecting-Ip"];
  const aboutTargets = ["X-Original-*", "X-Rewrite-*", "X-Host"];
  return { handler: "headers", request: { delete: [...aboutClients, ...aboutTargets, "*_*"] } };
}

/**
 * Runs `handle` if the name in `placeholder` is published, with the tenant in `{http.regexp.tenant.1}`. Each step is a route of its own:
 * Caddy evaluates the matchers of one route in no order, and a name must have been matched as a whole before it is part of a path.
 */
function publishedRoutes(settings: CaddySettings, placeholder: string, handle: Json[]): Json[] {
  const root = settings.namesDirectory;
  const own = [
    { match: [{ file: { root, try_files: ["/{http.regexp.tenant.1}"] } }], handle, terminal: true },
    refuse(404, "NO_SUCH_TENANT"),
  ];
  const theirs = [
    {
      match: [{ file: { root: `${root}/${extraHostsDirectory}/${placeholder}`, try_files: ["/*"] } }],
      handle: [
        subroute([
          {
            match: [matches("{http.matchers.file.relative}", "tenant", `^/?(${tenantPattern})$`)],
            handle,
            terminal: true,
          },
        ]),
      ],
    },
  ];
  return [
    { match: [matches(placeholder, "tenant", hostPattern(settings.domain))], handle: [subroute(own)], terminal: true },
    { match: [matches(placeholder, "extra", extraHostPattern)], handle: [subroute(theirs)] },
  ];
}

function ifAsleep({ namesDirectory }: CaddySettings, handle: Json[]): Json {
  return subroute([{ match: [isAsleep(namesDirectory)], handle }]);
}

function isAsleep(namesDirectory: string): { [key: string]: Json } {
  return { file: { root: `${namesDirectory}/${asleepDirectory}`, try_files: ["/{http.regexp.tenant.1}"] } };
}

/**
 * Holds the request until `proxy` answers: 204 and it goes on to the handlers after this one, its body unread; anything else is the answer. Only the
 * tenant's name goes to `proxy`: a lone `*` in `delete` is no pattern in 2.6.2, two are "whatever contains nothing".
 */
function wake({ wakeSocketPath, limits }: CaddySettings): Json {
  // Proxy has its own limit, with an answer; this one is for a proxy that hangs.
  const marginMs = 5000;
  return {
    handler: "reverse_proxy",
    upstreams: [{ dial: `unix/${wakeSocketPath}` }],
    // The question mark takes the client's query away.
    rewrite: { method: "GET", uri: "/{http.regexp.tenant.1}?" },
    headers: { request: { delete: ["**"] } },
    transport: {
      protocol: "http",
      versions: ["1.1"],
      compression: false,
      dial_timeout: "1000ms",
      response_header_timeout: duration(limits.holdLimitMs + marginMs),
      max_response_header_size: 4096,
      keep_alive: { enabled: false },
    },
    handle_response: [{ match: { status_code: [204] }, routes: [{ handle: [{ handler: "vars" }] }] }],
  };
}

/** Without `flush_interval: -1`, with which 2.6.2 ends requests that run when a configuration is loaded: streams are flushed anyway. */
function guestProxy(settings: CaddySettings): Json {
  const { limits } = settings;
  return {
    handler: "reverse_proxy",
    upstreams: [{ dial: `{http.regexp.tenant.1}.${guestZone}:${settings.guestPort}` }],
    headers: {
      request: { set: { "X-Forwarded-Proto": ["https"], "X-Forwarded-Host": ["{http.request.host}"] } },
    },
    transport: {
      protocol: "http",
      versions: ["1.1"],
      compression: false,
      resolver: { addresses: [`udp/127.0.0.1:${settings.resolverPort}`] },
      dial_timeout: duration(limits.dialTimeoutMs),
      response_header_timeout: duration(limits.responseHeaderTimeoutMs),
      // Go's own limit is 10 MiB for each answer, which a hostile guest could make Caddy hold a thousand times over.
      max_response_header_size: limits.maxAnswerHeaderBytes,
      keep_alive: { enabled: true, idle_timeout: duration(limits.upstreamIdleMs), max_idle_conns_per_host: 32 },
      tls: {
        root_ca_pem_files: [settings.guestCaPath],
        client_certificate_file: settings.clientCertificatePath,
        client_certificate_key_file: settings.clientKeyPath,
      },
    },
  };
}

function redirectServer(settings: CaddySettings): Json {
  const { limits } = settings;
  const port = settings.publicHttpsPort === 443 ? "" : `:${settings.publicHttpsPort}`;
  const location = `https://${requestHost}${port}{http.request.uri}`;
  return {
    ...plainServer(settings),
    listen: [...settings.redirectListen],
    max_header_bytes: limits.maxHeaderBytes,
    routes: [
      ...publishedRoutes(settings, requestHost, [
        { handler: "static_response", status_code: 308, headers: { Location: [location] } },
      ]),
      refuse(404, "NO_SUCH_HOST"),
    ],
  };
}

/** Where Caddy asks itself, before it orders a certificate in a handshake, whether the name in it is published. */
function askServer(settings: CaddySettings): { ask?: Json } {
  if (!isOnDemand(settings.certificates)) return {};
  const yes = [{ handler: "static_response", status_code: 200 }];
  const routes = [...publishedRoutes(settings, "{http.request.uri.query.domain}", yes), refuse(404, "NO_SUCH_HOST")];
  return { ask: { ...plainServer(settings), listen: [`127.0.0.1:${settings.certificates.askPort}`], routes } };
}

function plainServer({ limits }: CaddySettings) {
  return {
    protocols: ["h1"],
    automatic_https: { disable: true },
    read_header_timeout: duration(limits.readHeaderTimeoutMs),
    read_timeout: duration(limits.readHeaderTimeoutMs),
    write_timeout: duration(limits.readHeaderTimeoutMs),
    idle_timeout: duration(limits.idleTimeoutMs),
  };
}

/** Sets `{http.regexp.<name>.1}`. */
function matches(placeholder: string, name: string, pattern: string): { [key: string]: Json } {
  return { vars_regexp: { [placeholder]: { name, pattern } } };
}

// Deferred: the guest's own values of these headers are replaced at the moment the response is written.
function frontHeaders(): Json {
  return {
    handler: "headers",
    response: {
      deferred: true,
      set: { "Strict-Transport-Security": ["max-age=31536000"] },
      delete: ["Server"],
    },
  };
}

function errorRoutes({ namesDirectory }: CaddySettings): Json[] {
  const reasons: readonly (readonly [readonly string[], string])[] = [
    [["502", "503", "504"], "TENANT_UNREACHABLE"],
    [["413"], "REQUEST_TOO_LARGE"],
    [["421"], "WRONG_SERVER_NAME"],
    [["400"], "BAD_REQUEST"],
  ];
  const status = "{http.error.status_code}";
  // It fell asleep between the look and the dial, or `proxy` is away.
  const asleep = {
    match: [{ vars: { [status]: ["502", "503", "504"] }, ...isAsleep(namesDirectory) }],
    ...refuse(503, "TENANT_NOT_AWAKE", { "Retry-After": ["1"] }),
  };
  return [
    asleep,
    ...reasons.map(([codes, reason]) => ({
      match: [{ vars: { [status]: [...codes] } }],
      handle: [jsonBody(status, reason)],
      terminal: true,
    })),
    { handle: [jsonBody("500", "INTERNAL")] },
  ];
}

function refuse(statusCode: number, reason: string, headers: { [name: string]: string[] } = {}) {
  return { handle: [jsonBody(statusCode, reason, headers)], terminal: true };
}

function jsonBody(statusCode: number | string, reason: string, more: { [name: string]: string[] } = {}): Json {
  return {
    handler: "static_response",
    status_code: statusCode,
    headers: { "Content-Type": ["application/json"], "Cache-Control": ["no-store"], ...more },
    body: `${JSON.stringify({ reason })}\n`,
  };
}

function subroute(routes: Json[]): Json {
  return { handler: "subroute", routes };
}

function duration(milliseconds: number): string {
  return `${milliseconds}ms`;
}
