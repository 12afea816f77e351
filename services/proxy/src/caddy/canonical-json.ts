/** A JSON document as `JSON.parse` gives it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** One text per document: keys sorted, no white space. Two documents are equal exactly when their texts are. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] ?? null)}`).join(",")}}`;
}

/** JSON pointers (RFC 6901) of where two documents differ, at most `limit`: enough to say in a log what was changed. */
export function differingPaths(left: Json | undefined, right: Json | undefined, limit = 8): string[] {
  const paths: string[] = [];
  const visit = (a: Json | undefined, b: Json | undefined, path: string): void => {
    if (paths.length >= limit) return;
    if (isObject(a) && isObject(b)) {
      for (const key of [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()) {
        visit(a[key], b[key], `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`);
      }
      return;
    }
    if (a === undefined || b === undefined || canonicalJson(a) !== canonicalJson(b)) paths.push(path);
  };
  visit(left, right, "");
  return paths;
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
