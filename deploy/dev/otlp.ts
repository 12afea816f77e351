import type { z } from "zod";

/** Why a body is not an OTLP export request. */
export class OtlpError extends Error {
  override readonly name = "OtlpError";
}

/** An export request in OTLP's JSON form. Throws `OtlpError`, which names the first field that is wrong. */
export function parseOtlp<T>(schema: z.ZodType<T>, body: string): T {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new OtlpError("body is not JSON");
  }
  const request = schema.safeParse(json);
  if (request.success) return request.data;
  const [issue] = request.error.issues;
  throw new OtlpError(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
}
