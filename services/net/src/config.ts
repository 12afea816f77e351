import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";
import { maxSlotCount } from "./slots/address-plan.ts";

export const netConfigSchema = commonConfigSchema.extend({
  netnsDir: z.string().startsWith("/").max(200).describe("directory of the slots' namespace files; this user owns it"),
  slotCount: z.int().min(1).max(maxSlotCount).default(64).describe("slots to keep warm; a tenant needs one"),
  jailUidBase: z.int().min(1).max(2_147_000_000).describe("slot k's tap belongs to user and group jailUidBase + k"),
  uplinkInterface: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,15}$/)
    .refine((name) => !name.startsWith("lob-"), "is a name of a slot's link")
    .optional()
    .describe("link that guests reach the outside through, masqueraded; without it they reach nothing"),
  connectionLimit: z.int().min(1).max(65_535).default(1024).describe("concurrent connections of a guest, NET-04"),
  slotReadyTimeoutMs: z
    .int()
    .min(100)
    .max(60_000)
    .default(10_000)
    .describe("how long an attach waits for a slot that is being made"),
  reconcileIntervalMs: z.int().min(100).max(60_000).default(10_000).describe("time between two comparisons, NET-09"),
});

export type NetConfig = Readonly<z.infer<typeof netConfigSchema>>;
