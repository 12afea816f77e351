import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { Caller, Role } from "./caller.ts";

/** Who may call: one service, or every client with a role. */
export type Principal = `service:${string}` | `role:${Role}`;

/** One row per method, by its local name (`spawnTenant`). An empty row means nobody. */
export type AccessTable<S extends DescService> = Readonly<Record<keyof S["method"] & string, readonly Principal[]>>;

/** The allow table of one service, ready for the request gate. */
export interface AccessRule {
  readonly service: DescService;
  readonly rows: ReadonlyMap<string, ReadonlySet<Principal>>;
}

/** Declares who may call each method of `service`. A method without a row fails the type check and the start. */
export function allow<S extends DescService>(service: S, table: AccessTable<S>): AccessRule {
  const given: Readonly<Record<string, readonly Principal[] | undefined>> = table;
  const rows = new Map<string, ReadonlySet<Principal>>();
  for (const method of service.methods) {
    const row = given[method.localName];
    if (row === undefined) throw new Error(`${service.typeName}.${method.name} has no row in the allow table`);
    rows.set(method.localName, new Set(row));
  }
  for (const name of Object.keys(given)) {
    if (!rows.has(name)) throw new Error(`${service.typeName} has no method ${name}`);
  }
  return { service, rows };
}

/** Allows each method to every caller that is a service or has a role: for health and reflection. */
export function allowAnyPrincipal(service: DescService): AccessRule {
  const everyone = new Set<Principal>(["role:operator", "role:viewer", "role:owner"]);
  return {
    service,
    rows: new Map(service.methods.map((method) => [method.localName, new AnyService(everyone)])),
  };
}

/** Decides one call. What no rule names is refused. */
export function isAllowed(rules: ReadonlyMap<string, AccessRule>, method: DescMethod, caller: Caller): boolean {
  const row = rules.get(method.parent.typeName)?.rows.get(method.localName);
  const principal = principalOf(caller);
  return row !== undefined && principal !== undefined && row.has(principal);
}

/** Indexes the rules by service; throws unless each of `services` has exactly one rule. */
export function indexRules(
  services: Iterable<DescService>,
  rules: readonly AccessRule[],
): ReadonlyMap<string, AccessRule> {
  const byName = new Map<string, AccessRule>();
  for (const rule of rules) {
    if (byName.has(rule.service.typeName)) throw new Error(`${rule.service.typeName} has two allow tables`);
    byName.set(rule.service.typeName, rule);
  }
  for (const service of services) {
    if (!byName.has(service.typeName)) throw new Error(`${service.typeName} has no allow table`);
  }
  return byName;
}

function principalOf(caller: Caller): Principal | undefined {
  if (caller.kind === "stranger") return undefined;
  return caller.kind === "service" ? `service:${caller.name}` : `role:${caller.role}`;
}

/** A set of principals that also holds every service. */
class AnyService extends Set<Principal> {
  override has(principal: Principal): boolean {
    return principal.startsWith("service:") || super.has(principal);
  }
}
