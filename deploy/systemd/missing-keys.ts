import { z } from "zod";

const objectSchema = z.record(z.string(), z.unknown());
type JsonObject = z.infer<typeof objectSchema>;

/** A kept configuration with what a newer release cannot do without, and the paths of what was added, such as `caddy.certificatesStampPath`. */
export interface Completed {
  readonly text: string;
  readonly added: readonly string[];
}

/**
 * Adds the keys of `wanted` that `kept` does not have, at any depth of objects; what is there stays as it is, and so does an object of another `kind`. Both
 * are JSON objects.
 */
export function completeKeys(kept: string, wanted: string): Completed {
  const added: string[] = [];
  const result = complete(objectSchema.parse(JSON.parse(kept)), objectSchema.parse(JSON.parse(wanted)), "", added);
  return { text: `${JSON.stringify(result, null, 2)}\n`, added };
}

function complete(kept: JsonObject, wanted: JsonObject, path: string, added: string[]): JsonObject {
  const result: JsonObject = { ...kept };
  for (const [key, value] of Object.entries(wanted)) {
    const [inner, asked] = [objectSchema.safeParse(kept[key]), objectSchema.safeParse(value)];
    if (!Object.hasOwn(kept, key)) {
      result[key] = value;
      added.push(`${path}${key}`);
    } else if (inner.success && asked.success && inner.data["kind"] === asked.data["kind"])
      result[key] = complete(inner.data, asked.data, `${path}${key}.`, added);
  }
  return result;
}
