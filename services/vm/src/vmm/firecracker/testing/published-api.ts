import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";

/** Firecracker's API as its makers publish it; it lies beside the repository, not in it. */
const path = `${import.meta.dirname}/../../../../../../../shared/contracts/firecracker-1.16.1.yaml`;

/** Why tests against it are skipped; false where it is there. */
export const noPublishedApi = existsSync(path) ? false : `no published API in ${path}`;

interface Schema {
  readonly $ref?: string;
  readonly type?: "object" | "array" | "string" | "integer" | "boolean";
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
}

interface Operation {
  readonly summary: string;
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly required?: boolean;
    readonly schema?: Schema;
  }[];
  readonly responses: Readonly<Record<string, { readonly schema?: Schema }>>;
}

export interface PublishedApi {
  /** Why a request is not one that is published for a machine in this state; empty when it is. */
  requestFaults(request: { method: string; path: string; body?: unknown }, booted: boolean): string[];
  /** Why an answer is not one that is published for the request. */
  answerFaults(request: { method: string; path: string }, answer: { status: number; body?: unknown }): string[];
  readonly version: string;
}

/** The subset of Swagger 2.0 that the document uses, read strictly: what a schema does not name is forbidden unless it says otherwise. */
export function readPublishedApi(): PublishedApi {
  const document = parse(readFileSync(path, "utf8")) as {
    info: { version: string };
    paths: Record<string, Record<string, Operation>>;
    definitions: Record<string, Schema>;
  };
  const find = ({ method, path: wanted }: { method: string; path: string }): Operation | undefined => {
    const steps = wanted.split("/");
    const template = Object.keys(document.paths).find((candidate) => {
      const parts = candidate.split("/");
      return parts.length === steps.length && parts.every((part, at) => part === steps[at] || /^\{.+\}$/.test(part));
    });
    return template === undefined ? undefined : document.paths[template]?.[method.toLowerCase()];
  };
  const faults = (schema: Schema, value: unknown, at: string): string[] =>
    schemaFaults((name) => document.definitions[name], schema, value, at);
  return {
    version: document.info.version,
    requestFaults(request, booted) {
      const operation = find(request);
      if (operation === undefined) return [`no ${request.method} ${request.path}`];
      const state = /Pre-boot only/.test(operation.summary)
        ? booted && "only before the boot"
        : /Post-boot only/.test(operation.summary) && !booted && "only after the boot";
      const body = operation.parameters?.find((parameter) => parameter.in === "body");
      const inBody =
        body?.schema === undefined
          ? request.body === undefined
            ? []
            : ["it has no body"]
          : request.body === undefined
            ? [`no body`]
            : faults(body.schema, request.body, "body");
      return [...(state === false ? [] : [state]), ...inBody].map(
        (fault) => `${request.method} ${request.path}: ${fault}`,
      );
    },
    answerFaults(request, answer) {
      const responses = find(request)?.responses;
      const response = responses?.[answer.status] ?? responses?.["default"];
      if (response === undefined) return [`no answer ${answer.status} to ${request.method} ${request.path}`];
      if (response.schema === undefined) return answer.body === undefined ? [] : ["a body where none is published"];
      return faults(response.schema, answer.body, "answer");
    },
  };
}

function schemaFaults(
  definition: (name: string) => Schema | undefined,
  schema: Schema,
  value: unknown,
  at: string,
): string[] {
  const nested = (part: Schema, inner: unknown, where: string) => schemaFaults(definition, part, inner, where);
  if (schema.$ref !== undefined) {
    const target = definition(schema.$ref.replace("#/definitions/", ""));
    return target === undefined ? [`${at}: ${schema.$ref} is not defined`] : nested(target, value, at);
  }
  if (schema.enum?.includes(value) === false)
    return [`${at}: ${JSON.stringify(value)} is none of ${schema.enum.join(", ")}`];
  switch (schema.type) {
    case "object": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${at}: no object`];
      const { properties = {}, required = [], additionalProperties = false } = schema;
      const missing = required.filter((key) => !Object.hasOwn(value, key)).map((key) => `${at}.${key}: missing`);
      const found = Object.entries(value).flatMap(([key, inner]) => {
        const part = properties[key];
        if (part === undefined) return additionalProperties ? [] : [`${at}.${key}: not published`];
        return nested(part, inner, `${at}.${key}`);
      });
      return [...missing, ...found];
    }
    case "array": {
      const { items } = schema;
      if (!Array.isArray(value) || items === undefined) return [`${at}: no array`];
      return value.flatMap((inner, index) => nested(items, inner, `${at}[${index}]`));
    }
    case "integer": {
      const { minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER } = schema;
      return Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum
        ? []
        : [`${at}: ${JSON.stringify(value)} is no integer of ${minimum} to ${maximum}`];
    }
    case "string":
    case "boolean":
      return typeof value === schema.type ? [] : [`${at}: no ${schema.type}`];
    default:
      return [`${at}: the schema has no type that is understood`];
  }
}
