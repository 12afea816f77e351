import type { Message } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor } from "@connectrpc/connect";
import { type AccessRule, ownerScope } from "./access.ts";
import { callerKey } from "./caller.ts";
import { hookMessages } from "./streams.ts";

/** Which tenants are whose. Both are given to a caller that proved to be that client. */
export interface Ownership {
  /** Whether the tenant that a request names is `owner`'s. One look-up, which takes as long for a tenant of somebody else as for none. */
  owns(owner: string, tenant: string, request: Message): boolean;
  /** What everybody is answered who names a tenant that does not exist. */
  unknown(tenant: string): Error;
}

/** Name of the calling client if it may see no tenants but its own; `undefined` for everybody whom the allow table lets see all. */
export function ownerOf(context: Pick<HandlerContext, "values">): string | undefined {
  const caller = context.values.get(callerKey);
  return caller?.kind === "client" && caller.role === "owner" ? caller.name : undefined;
}

/**
 * Answers an owner who names a tenant of somebody else as it would if there were none. Stands right before the handler, so that such a call
 * is recorded, validated and timed like any other. Throws at the start if a row lets owners in and nobody says what is whose.
 */
export function limitOwners(rules: ReadonlyMap<string, AccessRule>, ownership: Ownership | undefined): Interceptor {
  const scoped = [...rules.values()].flatMap(({ service }) =>
    service.methods.filter((method) => ownerScope(rules, method)?.kind === "tenant"),
  );
  if (ownership === undefined && scoped[0] !== undefined) {
    throw new Error(`${scoped[0].parent.typeName}.${scoped[0].name} is for owners, and nothing says what is whose`);
  }
  return (next) => async (request) => {
    const owner = ownerOf({ values: request.contextValues });
    const scope = owner === undefined ? undefined : ownerScope(rules, request.method);
    if (owner === undefined || scope?.kind === "own") return await next(request);
    if (scope === undefined || ownership === undefined) throw new Error("the gate let an owner in whom no row names");
    const check = (message: Message): void => {
      const tenant = textAt(message, scope.path);
      if (!ownership.owns(owner, tenant, message)) throw ownership.unknown(tenant);
    };
    if (!request.stream) {
      check(request.message);
      return await next(request);
    }
    let isFirst = true;
    const message = hookMessages(request.message, {
      message: (item) => {
        // What follows has no name: it belongs to what the first message began.
        if (isFirst) check(item);
        isFirst = false;
      },
    });
    return await next({ ...request, message });
  };
}

/** The text at a path of a message; `""` where it leads nowhere, which is nobody's tenant. */
function textAt(message: Message, path: readonly string[]): string {
  let value: unknown = message;
  for (const name of path) value = typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
  return typeof value === "string" ? value : "";
}
