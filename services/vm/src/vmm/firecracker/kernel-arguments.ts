import { z } from "zod";
import { vmmFail } from "../port.ts";

export const maxKernelArgumentBytes = 2048;

/**
 * Every key that a guest's command line may have. A value is a bounded number, a word of a fixed list, or nothing, so that no value can hold
 * a space, a quote, a newline or a semicolon.
 */
const kernelArgumentsSchema = z
  .strictObject({
    /** How a guest that powers off or panics ends its VMM: "k" resets by the keyboard controller, which Firecracker takes for the end. */
    reboot: z.enum(["k", "t"]),
    panic: z.int().min(-1).max(60),
    quiet: z.literal(true),
    "8250.nr_uarts": z.int().min(0).max(4),
    "ipv6.disable": z.union([z.literal(0), z.literal(1)]),
    "i8042.noaux": z.literal(true),
    "i8042.nomux": z.literal(true),
    "i8042.dumbkbd": z.literal(true),
  })
  .partial();

export type KernelArguments = z.infer<typeof kernelArgumentsSchema>;

/** The guest's command line, keys in the order given. Throws INVALID_REQUEST for any other key or value, and names the key. */
export function formatKernelArguments(values: KernelArguments): string {
  const checked = kernelArgumentsSchema.safeParse(values);
  if (!checked.success) throw vmmFail("INVALID_REQUEST", "a kernel argument is not one of the allowed ones");
  const words = Object.entries(checked.data).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return [value === true ? key : `${key}=${value}`];
  });
  const line = words.join(" ");
  if (Buffer.byteLength(line) > maxKernelArgumentBytes)
    throw vmmFail("INVALID_REQUEST", "the kernel arguments are too long");
  return line;
}
