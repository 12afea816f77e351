/**
 * The text of /etc/resolv.conf. Two attempts of two seconds: the host drops what goes to any other server, so a caller learns within
 * seconds that a name cannot be found. Without a server the C library would ask loopback, where nothing listens: that fails at once.
 */
export function resolvConf(resolvers: readonly string[]): string {
  if (resolvers.length === 0) return "# The host offers no DNS server.\n";
  const servers = resolvers.map((address) => `nameserver ${address}\n`);
  return `${servers.join("")}options timeout:2 attempts:2\n`;
}
