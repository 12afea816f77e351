import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { AuditClass, AuditClassSchema, audit } from "@lobsterd/proto/lobsterd/common/v1/audit_pb.ts";
import type { AccessRule } from "./access.ts";
import type { AuditRule } from "./audit.ts";

/** What a method's proto declares; UNSPECIFIED if it declares nothing. */
export function auditClassOf(method: DescMethod): AuditClass {
  return getOption(method, audit);
}

/** Throws, naming them, if methods of lobsterd's own services declare no audit class. */
export function requireAuditClasses(services: Iterable<DescService>): void {
  const faults = [...services].flatMap(undeclared);
  if (faults.length > 0) throw new Error(faults.join("\n"));
}

/**
 * Every way in which a service's policy is not what its protos declare, one line each; none if it is. `isServed` is false for a method that answers
 * UNIMPLEMENTED, and needs no rule yet.
 */
export function auditFaults(options: {
  readonly services: readonly DescService[];
  readonly access: readonly AccessRule[];
  readonly rules: Readonly<Record<string, AuditRule>>;
  readonly isServed: (method: DescMethod) => boolean;
}): readonly string[] {
  const methods = options.services.flatMap(({ methods: all }) => all);
  const names = new Set(methods.map(({ name }) => name));
  const strays = Object.keys(options.rules).filter((name) => !names.has(name));
  return [
    ...options.services.flatMap(undeclared),
    ...strays.map((name) => `the audit policy has a rule for ${name}, which is no method`),
    ...methods.flatMap((method) => {
      const rule = options.rules[method.name];
      const isNeeded = options.isServed(method);
      const fault = ruleFault(auditClassOf(method), rule, isNeeded) ?? stepFault(method, options.access);
      return fault === undefined ? [] : [`${nameOf(method)} ${fault}`];
    }),
  ];
}

const kinds: Partial<Record<AuditClass, AuditRule["kind"]>> = {
  [AuditClass.WIDENING]: "widening",
  [AuditClass.READ_SENSITIVE]: "widening",
  [AuditClass.NARROWING]: "narrowing",
};

function ruleFault(declared: AuditClass, rule: AuditRule | undefined, isNeeded: boolean): string | undefined {
  const kind = kinds[declared];
  const says = `is declared ${className(declared)}`;
  if (kind === undefined) return rule === undefined ? undefined : `${says} and has a rule in the audit policy`;
  if (rule === undefined) {
    return isNeeded ? `${says} and has no rule in the audit policy: add one of kind "${kind}"` : undefined;
  }
  return rule.kind === kind ? undefined : `${says} and its rule in the audit policy is ${rule.kind}`;
}

/** What nobody but a service may call was recorded by that service; a person's call would be recorded by nobody. */
function stepFault(method: DescMethod, access: readonly AccessRule[]): string | undefined {
  if (auditClassOf(method) !== AuditClass.STEP) return undefined;
  const row = access.find(({ service }) => service.typeName === method.parent.typeName)?.rows.get(method.localName);
  const people = [...(row ?? [])].filter((principal) => !principal.startsWith("service:"));
  if (people.length === 0) return undefined;
  return `is declared ${className(AuditClass.STEP)} and may be called by ${people.join(", ")}`;
}

function undeclared({ typeName, methods }: DescService): string[] {
  if (!typeName.startsWith("lobsterd.")) return [];
  return methods
    .filter((method) => auditClassOf(method) === AuditClass.UNSPECIFIED)
    .map((method) => `${nameOf(method)} declares no audit class: ${advice}`);
}

const advice =
  "put `option (lobsterd.common.v1.audit) = AUDIT_CLASS_…;` into its rpc, import lobsterd/common/v1/audit.proto, run make generate";

function className(value: AuditClass): string {
  return AuditClassSchema.values.find(({ number }) => number === value)?.name ?? String(value);
}

function nameOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}
