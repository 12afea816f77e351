import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { z } from "zod";

const maxConfigBytes = 1024 * 1024;

/** What every service is configured with. A service extends it: `commonConfigSchema.extend({ … })`. Unknown keys are faults. */
export const commonConfigSchema = z.strictObject({
  service: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,30}$/)
    .describe("name of this service in its certificate, logs and errors"),
  hostId: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/)
    .describe("stable name of this host"),
  trustDomain: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,127}$/)
    .describe("<domain> of spiffe://<domain>/svc/<name>"),
  logLevel: z.enum(["trace", "debug", "info", "warn", "error"]).default("info").describe("least severe line to print"),
  listen: z.strictObject({
    unixPath: z.string().startsWith("/").max(107).describe("socket of the RPC server; its directory keeps others out"),
    tcp: z
      .strictObject({ host: z.string().min(1), port: z.int().min(0).max(65535) })
      .optional()
      .describe("also listen here; port 0 takes a free one"),
  }),
  tls: z
    .strictObject({
      certificatePath: z.string().startsWith("/"),
      keyPath: z.string().startsWith("/"),
      platformCaPath: z.string().startsWith("/"),
    })
    .describe("PEM files: own leaf, its key, and the only authority that callers and peers are verified with"),
  stateDir: z.string().startsWith("/").describe("directory of the SQLite store, mode 0700"),
  rolesPath: z.string().startsWith("/").describe("JSON file: client URI to operator, viewer or owner"),
  revocationsPath: z.string().startsWith("/").describe("JSON file: serial numbers of certificates that are revoked"),
  clients: z
    .strictObject({ caPath: z.string().startsWith("/"), listPath: z.string().startsWith("/") })
    .optional()
    .describe(
      "authority that `secrets` issues viewers and owners with, and its list; without it none of them is let in",
    ),
  reflection: z.boolean().default(true).describe("serve gRPC server reflection"),
  events: z
    .strictObject({ servers: z.array(z.string().min(1)).min(1).max(16) })
    .optional()
    .describe("NATS servers, host:port; without it events are dropped"),
  shutdownGraceMs: z.int().min(100).max(120_000).default(5000).describe("bound of a graceful stop"),
  defaultDeadlineMs: z.int().min(1).max(3_600_000).default(30_000).describe("deadline of a unary call that names none"),
  maxDeadlineMs: z.int().min(1).max(86_400_000).default(300_000).describe("a longer deadline is shortened to this"),
});

export type CommonConfig = Readonly<z.infer<typeof commonConfigSchema>>;

/** Every fault of a configuration, one per line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.faults = faults;
  }
}

/**
 * The configuration of this process from `--config <file>` (JSON), frozen. `--help` prints every key. A fault ends the
 * process with status 2 after all of them were listed on standard error.
 */
export function loadConfig<S extends z.ZodObject>(schema: S): Readonly<z.infer<S>> {
  try {
    const { values } = parseArgs({
      args: process.argv.slice(2),
      options: { config: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help === true) {
      process.stdout.write(describeConfig(schema));
      process.exit(0);
    }
    if (values.config === undefined) throw new ConfigError(["--config <file> is missing; --help lists the keys"]);
    return parseConfig(schema, readConfigFile(values.config));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`configuration is not usable:\n${message}\n`);
    process.exit(2);
  }
}

/** Checks `text` (JSON) and returns the frozen configuration. Throws `ConfigError` with every fault. */
export function parseConfig<S extends z.ZodObject>(schema: S, text: string): Readonly<z.infer<S>> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ConfigError([`not JSON: ${error instanceof Error ? error.message : String(error)}`]);
  }
  const result = schema.safeParse(json);
  if (!result.success) {
    throw new ConfigError(
      result.error.issues.map((issue) => `${issue.path.map(String).join(".") || "(top level)"}: ${issue.message}`),
    );
  }
  const placeholders = placeholdersIn(json, "");
  if (placeholders.length > 0) throw new ConfigError(placeholders);
  return deepFreeze(result.data);
}

/** What templates have where a value belongs, and the prefix of test credentials: a process that starts with one looks healthy and is not. */
const placeholder =
  /^(change[-_ ]?me|replace[-_ ]?me|fill[-_ ]?me([-_ ]in)?|fixme|todo|tbd|placeholder|dummy|your[-_ ].*|insert[-_ ].*|x{3,}|<.*>|\$\{.*\}|\{\{.*\}\}|lobsterd-test-.*)$/i;

function placeholdersIn(value: unknown, path: string): string[] {
  if (typeof value === "string") {
    // Of a path, its last part is what a template would leave open.
    const last = value.split("/").at(-1) ?? "";
    return placeholder.test(value) || placeholder.test(last)
      ? [`${path}: ${JSON.stringify(value)} is a placeholder`]
      : [];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => placeholdersIn(item, path === "" ? key : `${path}.${key}`));
}

/** The text of `--help`: one line per key with its type, default and description; of a union those of each form, one form after the other. */
export function describeConfig(schema: z.ZodObject): string {
  const lines: string[] = [];
  describeObject(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), "", lines);
  return `usage: main.ts --config <file>\n\nKeys of the JSON file:\n${lines.join("\n")}\n`;
}

type Described = z.core.JSONSchema.BaseSchema;

function describeObject(node: Described, prefix: string, lines: string[]): void {
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    if (typeof child === "boolean") continue;
    const path = prefix === "" ? key : `${prefix}.${key}`;
    const need =
      child.default !== undefined
        ? `default ${JSON.stringify(child.default)}`
        : node.required?.includes(key)
          ? "required"
          : "optional";
    lines.push(
      `  ${path} (${kindOf(child)}, ${need})${child.description === undefined ? "" : ` ${child.description}`}`,
    );
    describeObject(child, path, lines);
    for (const form of formsOf(child)) describeObject(form, path, lines);
    if (isSchema(child.items)) describeObject(child.items, `${path}[]`, lines);
  }
}

function kindOf(node: Described): string {
  if (node.const !== undefined) return String(node.const);
  const forms = formsOf(node);
  if (forms.some(({ properties }) => properties !== undefined)) return `one of ${forms.length} forms`;
  if (forms.length > 0) return forms.map(kindOf).join("|");
  return [node.enum ?? node.type ?? "any"].flat().join("|");
}

/** What a union may be. */
function formsOf(node: Described): Described[] {
  return [...(node.oneOf ?? []), ...(node.anyOf ?? [])].filter(isSchema);
}

function isSchema(node: unknown): node is Described {
  return typeof node === "object" && node !== null && !Array.isArray(node);
}

function readConfigFile(path: string): string {
  const { size } = statSync(path);
  if (size > maxConfigBytes) throw new ConfigError([`${path} has ${size} bytes, more than ${maxConfigBytes}`]);
  return readFileSync(path, "utf8");
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const item of Object.values(value)) deepFreeze(item);
  }
  return value;
}
