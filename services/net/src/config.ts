import { commonConfigSchema } from "@lobsterd/chassis/config.ts";
import { z } from "zod";
import { maxSlotCount } from "./slots/address-plan.ts";

export const netConfigSchema = commonConfigSchema.extend({
  peers: z.object({ audit: z.string().describe("Unix socket of the audit service") }),
  netnsDir: z.string().startsWith("/").max(200).describe("directory of the slots' namespace files; this user owns it"),
  slotCount: z.int().min(1).max(maxSlotCount).default(64).describe("slots to keep warm; a tenant needs one"),
  jailUidBase: z.int().min(1).max(2_147_000_000).describe("slot k's tap belongs to user and group jailUidBase + k"),
  uplinkInterface: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,15}$/)
    .refine((name) => !name.startsWith("lob-"), "is a name of a slot's link")
    .optional()
    .describe("link that guests reach the outside through, masqueraded; without it they reach nothing"),
  resolverAddresses: z.array(z.ipv4()).max(4).default([]).describe("the only DNS servers that guests reach"),
  connectionLimit: z
    .int()
    .min(1)
    .max(65_535)
    .default(1024)
    .describe("concurrent connections of a guest in each direction, NET-04"),
  defaultLimits: z
    .object({
      sentKbits: z.int().min(64).max(10_000_000),
      receivedKbits: z.int().min(64).max(10_000_000),
      sentPackets: z.int().min(10).max(1_000_000),
      receivedPackets: z.int().min(10).max(1_000_000),
    })
    .default({ sentKbits: 10_000, receivedKbits: 10_000, sentPackets: 1000, receivedPackets: 1000 })
    .describe("what a guest may send and receive per second unless its tenant has limits of its own, NET-07"),
  addressQuarantineMs: z
    .int()
    .min(0)
    .max(3_600_000)
    .default(60_000)
    .describe("a freed slot's address is not given to another microVM for so long, PXY-07"),
  kernelAccess: z
    .enum(["netlink", "processes"])
    .default("netlink")
    .describe("how elements and connections are changed: in process, or by nft, ss and conntrack"),
  slotReadyTimeoutMs: z
    .int()
    .min(100)
    .max(60_000)
    .default(10_000)
    .describe("how long an attach waits for a slot that is being made"),
  reconcileIntervalMs: z.int().min(100).max(60_000).default(10_000).describe("time between two comparisons, NET-09"),
});

export type NetConfig = Readonly<z.infer<typeof netConfigSchema>>;
