import { z } from "zod";

export const maxKernelArgumentBytes = 2048;

/**
 * Every key that a tenant's guest may have on its command line, whichever VMM runs it. A value is a bounded number, a word of a fixed list,
 * or nothing, so that no value can hold a space, a quote, a newline or a semicolon.
 */
const kernelArgumentsSchema = z
  .strictObject({
    /** How a guest that powers off or panics ends its VMM: "k" resets by the keyboard controller, which Firecracker takes for the end. */
    reboot: z.enum(["k", "t"]),
    panic: z.int().min(-1).max(60),
    quiet: z.literal(true),
    "8250.nr_uarts": z.int().min(0).max(4),
    /** Of emulation: the guest's TSC is the host's, and its frequency is told instead of measured. */
    tsc_early_khz: z.int().min(100_000).max(10_000_000),
    tsc: z.literal("reliable"),
    "ipv6.disable": z.union([z.literal(0), z.literal(1)]),
    "i8042.noaux": z.literal(true),
    "i8042.nomux": z.literal(true),
    "i8042.dumbkbd": z.literal(true),
  })
  .partial();

export type KernelArguments = z.infer<typeof kernelArgumentsSchema>;

/** The guest's command line, keys in the order given. Throws RangeError for any other key or value. */
export function formatKernelArguments(values: KernelArguments): string {
  const checked = kernelArgumentsSchema.safeParse(values);
  if (!checked.success) throw new RangeError("a kernel argument is not one of the allowed ones");
  const words = Object.entries(checked.data).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return [value === true ? key : `${key}=${value}`];
  });
  const line = words.join(" ");
  if (Buffer.byteLength(line) > maxKernelArgumentBytes) throw new RangeError("the kernel arguments are too long");
  return line;
}
