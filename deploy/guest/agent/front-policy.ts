/** What the front knows of a request before it lets it through. */
export type FrontRequest = {
  /** URI of the verified client certificate. */
  readonly caller: string | undefined;
  /** What the client asked for in its TLS hello; false when it sent no name. */
  readonly serverName: string | false | null;
  /** Every Host header that was sent. */
  readonly hosts: readonly string[];
  readonly target: string;
};

export type Refusal = { readonly status: 400 | 403 | 421; readonly error: string };

/** The name in a Host header in lower case, without a port; undefined when it is not a host name. */
export function hostNameOf(host: string): string | undefined {
  return /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:[0-9]{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
}

/** Every value of a header in Node's flat list of names and values, whatever its case. */
export function headerValues(rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name);
}

/**
 * Decides whether a request is for this guest: from Caddy, under one of the guest's own names in both TLS and HTTP, in
 * origin form (an absolute target would name a second host). Undefined lets it through.
 */
export function refusalOf(
  request: FrontRequest,
  trustDomain: string,
  hostNames: ReadonlySet<string>,
): Refusal | undefined {
  if (request.caller !== `spiffe://${trustDomain}/svc/caddy`) return { status: 403, error: "caller not allowed" };
  if (!request.target.startsWith("/") || request.hosts.length !== 1) return { status: 400, error: "malformed request" };
  const host = hostNameOf(request.hosts[0] ?? "");
  const serverName = typeof request.serverName === "string" ? request.serverName.toLowerCase() : "";
  if (host === undefined || !hostNames.has(host) || !hostNames.has(serverName))
    return { status: 421, error: "misdirected request" };
  return undefined;
}
