import type { DescService } from "@bufbuild/protobuf";
import { Code, type ConnectRouter, type HandlerContext, type MethodImpl, type ServiceImpl } from "@connectrpc/connect";
import { defineErrors } from "./errors.ts";

const fail = defineErrors("lobsterd", { NOT_IMPLEMENTED: Code.Unimplemented });

/** Marks a method that is in the contract and not built yet: it answers UNIMPLEMENTED, reason NOT_IMPLEMENTED. */
export const unimplemented: unique symbol = Symbol("unimplemented");

/** A handler for each method of `S`, by local name; leaving one out fails the type check. */
export type Handlers<S extends DescService> = {
  readonly [Name in keyof S["method"]]: MethodImpl<S["method"][Name]> | typeof unimplemented;
};

/** One service with its handlers. */
export interface Routes {
  readonly service: DescService;
  /** Local names of the methods that have a handler. */
  readonly served: ReadonlySet<string>;
  register(router: ConnectRouter): void;
}

/** Binds handlers to a service: a service's table of contents. Throws if a method has none. */
export function defineRoutes<S extends DescService>(service: S, handlers: Handlers<S>): Routes {
  const given: Readonly<Record<string, unknown>> = handlers;
  const implementation: Record<string, unknown> = {};
  for (const method of service.methods) {
    const handler = given[method.localName];
    if (handler === unimplemented) implementation[method.localName] = refusal(method.methodKind, method.name);
    else if (typeof handler === "function") implementation[method.localName] = handler;
    else throw new Error(`${service.typeName}.${method.name} has no handler`);
  }
  for (const name of Object.keys(given)) {
    if (!(name in implementation)) throw new Error(`${service.typeName} has no method ${name}`);
  }
  const served = new Set(Object.keys(given).filter((name) => given[name] !== unimplemented));
  return { service, served, register: (router) => router.service(service, implementation as Partial<ServiceImpl<S>>) };
}

function refusal(kind: string, name: string): (request: unknown, context: HandlerContext) => unknown {
  const error = () => fail("NOT_IMPLEMENTED", `${name} is not implemented yet`, { metadata: { method: name } });
  if (kind === "unary" || kind === "client_streaming") {
    return () => Promise.reject(error());
  }
  // A stream handler has to answer with an iterable; its first step fails, before any message is sent.
  return () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error()) }) });
}
