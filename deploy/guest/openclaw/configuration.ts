type Json = Readonly<Record<string, unknown>>;

/**
 * The platform's part of openclaw.json. The gateway listens on the guest's loopback alone, where the agent's TLS front finds it, and
 * demands the tenant's token; what finds neighbours, updates itself or drives a browser is off.
 */
export function platformSettings(port: number): Json {
  return {
    gateway: {
      ...{ mode: "local", port, bind: "loopback", auth: { mode: "token" }, controlUi: { enabled: false } },
      // Who asks is what the agent's front says, and it says what Caddy wrote over whatever the client sent.
      trustedProxies: ["127.0.0.1"],
    },
    discovery: { mdns: { mode: "off" } },
    browser: { enabled: false },
    update: { checkOnStart: false },
  };
}

/**
 * openclaw.json for this start: what the tenant's gateway kept from its last one, what the platform's configuration file has beside the guest's
 * name, and over both of them what the platform insists on.
 */
export function openClawConfiguration(kept: unknown, configurationFile: unknown, port: number): Json {
  if (!isObject(configurationFile) || !("tenant" in configurationFile))
    throw new Error("the platform's configuration file does not name a tenant");
  // The guest's name is the platform's; whatever else is there are settings that secrets or operators put there.
  const { tenant: _tenant, vmId: _vmId, generation: _generation, ...settings } = configurationFile;
  return merge(merge(isObject(kept) ? kept : {}, settings), platformSettings(port));
}

/** `over` wins; objects are merged, everything else is replaced. */
function merge(under: Json, over: Json): Json {
  const merged: Record<string, unknown> = { ...under };
  for (const [name, value] of Object.entries(over)) {
    const below = merged[name];
    merged[name] = isObject(below) && isObject(value) ? merge(below, value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
