/** Headers of one connection, which a proxy does not pass on (RFC 9110 section 7.6.1, and two that predate it). */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The end-to-end headers of a message as a flat list, in order and with their case: without the hop-by-hop ones and those that its
 * Connection header names. Framing is left out too and set again by whoever sends the message on.
 */
export function endToEndHeaders(rawHeaders: readonly string[]): string[] {
  const named = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() !== "connection") continue;
    for (const name of (rawHeaders[index + 1] ?? "").split(",")) named.add(name.trim().toLowerCase());
  }
  const kept: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? "";
    const lower = name.toLowerCase();
    // Host cannot be named away: the workload sees the name that was checked.
    if (lower !== "host" && lower !== "content-length" && (hopByHop.has(lower) || named.has(lower))) continue;
    kept.push(name, rawHeaders[index + 1] ?? "");
  }
  return kept;
}
