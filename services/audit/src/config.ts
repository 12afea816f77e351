import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";

/** Configuration of the `audit` service: what every service has, and the keys below. */
export const configSchema = commonConfigSchema.extend({
  appendQueueLimit: z
    .int()
    .min(1)
    .max(100_000)
    .default(4096)
    .describe("appends of one writer that may wait for the disk; more are refused"),
  diskReserveMib: z
    .int()
    .min(0)
    .max(1_048_576)
    .default(256)
    .describe("free space of the log's disk below which appends are refused"),
  checkpointKeyPath: z
    .string()
    .startsWith("/")
    .describe("PKCS #8 PEM file of the Ed25519 key that signs checkpoints, mode 0600 or 0400"),
  witness: z
    .strictObject({
      directory: z.string().startsWith("/").optional().describe("checkpoints are appended to files in this directory"),
      url: z
        .url({ protocol: /^https$/ })
        .optional()
        .describe("checkpoints are posted to this https URL"),
      caPath: z.string().startsWith("/").optional().describe("PEM file of the authority that the URL is verified with"),
      lateSeconds: z.int().min(1).max(3600).default(60).describe("a checkpoint that waits for longer is an alarm"),
    })
    .optional()
    .describe(
      "where checkpoints are kept outside of this host's reach; without it whoever owns the host can rewrite the log",
    ),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
