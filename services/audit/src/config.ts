import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

/** Configuration of the `audit` service: what every service has, and the keys below. */
export const configSchema = commonConfigSchema.extend({
  appendQueueLimit: z
    .int()
    .min(1)
    .max(100_000)
    .default(4096)
    .describe("appends that may wait for the disk; more are refused"),
  diskReserveMib: z
    .int()
    .min(0)
    .max(1_048_576)
    .default(256)
    .describe("free space of the log's disk below which appends are refused"),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
