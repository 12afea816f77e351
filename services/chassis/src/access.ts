import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { Caller, Role } from "./caller.ts";

/**
 * Who may call: one service, or every client with a role. Owners never come by their role alone: `owner:<path>` lets in the owner of the tenant
 * whose name is at `<path>` in the (first) request message (`owner:name`, `owner:message.value.name`), and `owner` says that the handler
 * shows each owner its own and nothing else.
 */
export type Principal = `service:${string}` | `role:${Exclude<Role, "owner">}` | `owner:${string}` | "owner";

/** What a row lets owners do. */
export type OwnerScope =
  | { readonly kind: "tenant"; readonly path: readonly string[] }
  /** The handler looks at `ownerOf`. */
  | { readonly kind: "own" };

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
    requireOwnerField(method, row);
    rows.set(method.localName, new Set(row));
  }
  for (const name of Object.keys(given)) {
    if (!rows.has(name)) throw new Error(`${service.typeName} has no method ${name}`);
  }
  return { service, rows };
}

/** Allows each method to every caller that is a service or has a role: for health and reflection. */
export function allowAnyPrincipal(service: DescService): AccessRule {
  const everyone = new Set<Principal>(["role:operator", "role:viewer", "owner"]);
  return {
    service,
    rows: new Map(service.methods.map((method) => [method.localName, new AnyService(everyone)])),
  };
}

/** Decides one call. What no rule names is refused. */
export function isAllowed(rules: ReadonlyMap<string, AccessRule>, method: DescMethod, caller: Caller): boolean {
  if (caller.kind === "client" && caller.role === "owner") return ownerScope(rules, method) !== undefined;
  const row = rules.get(method.parent.typeName)?.rows.get(method.localName);
  const principal = principalOf(caller);
  return row !== undefined && principal !== undefined && row.has(principal);
}

/** What owners may do with a method; `undefined` if nothing. */
export function ownerScope(rules: ReadonlyMap<string, AccessRule>, method: DescMethod): OwnerScope | undefined {
  for (const principal of rules.get(method.parent.typeName)?.rows.get(method.localName) ?? []) {
    if (principal === "owner") return { kind: "own" };
    if (principal.startsWith("owner:")) return { kind: "tenant", path: principal.slice("owner:".length).split(".") };
  }
  return undefined;
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

/** A path that leads nowhere would refuse every owner, which looks like a tenant that is not there. */
function requireOwnerField(method: DescMethod, row: readonly Principal[]): void {
  const scopes = row.filter((principal) => principal === "owner" || principal.startsWith("owner:"));
  if (scopes.length > 1) throw new Error(`${method.parent.typeName}.${method.name} lets owners in twice`);
  const [first] = scopes[0]?.split(":")[1]?.split(".") ?? [];
  if (first !== undefined && !method.input.members.some(({ localName }) => localName === first)) {
    throw new Error(`${method.input.typeName} has no field ${first} to find an owner by`);
  }
}

function principalOf(caller: Caller): Principal | undefined {
  if (caller.kind === "stranger") return undefined;
  if (caller.kind === "service") return `service:${caller.name}`;
  return caller.role === "owner" ? undefined : `role:${caller.role}`;
}

/** A set of principals that also holds every service. */
class AnyService extends Set<Principal> {
  override has(principal: Principal): boolean {
    return principal.startsWith("service:") || super.has(principal);
  }
}
