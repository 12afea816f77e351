/**
 * For whom a service calls another one: the person whose call it is handling. It is for the audit log only. What a caller may do follows from its own
 * certificate, and a name in a header gives nobody a right.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { createContextKey, type Interceptor } from "@connectrpc/connect";
import { callerKey } from "./caller.ts";
import { hookMessages } from "./streams.ts";

const headerName = "lobsterd-on-behalf-of";
const clientUri = /^spiffe:\/\/[a-z0-9.-]{1,128}\/client\/[a-z0-9][a-z0-9.-]{0,62}$/;
const person = new AsyncLocalStorage<string>();

/** URI of the person that the calling service named; `""` if the caller is a person itself, or named nobody. */
export const onBehalfOfKey = createContextKey("", { description: "whom the calling service acts for" });

/** Server side: believes the header of a service and of nobody else, and keeps the person for the calls that the handler makes. */
export const keepPerson: Interceptor = (next) => async (request) => {
  const caller = request.contextValues.get(callerKey);
  const named = request.header.get(headerName) ?? "";
  const onBehalfOf = caller?.kind === "service" && clientUri.test(named) ? named : "";
  request.contextValues.set(onBehalfOfKey, onBehalfOf);
  const origin = caller?.kind === "client" ? caller.uri : onBehalfOf;
  const response = await person.run(origin, () => next(request));
  if (!response.stream) return response;
  // A stream's handler runs when its next message is asked for, and then in the context of whoever asks.
  return { ...response, message: hookMessages(response.message, { step: (run) => person.run(origin, run) }) };
};

/** Client side, for calls of other services: a guest is not told who its operator is. */
export const namePerson: Interceptor = (next) => async (request) => {
  const origin = person.getStore() ?? "";
  if (origin !== "") request.header.set(headerName, origin);
  return await next(request);
};
