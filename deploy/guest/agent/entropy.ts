import { writeFileSync } from "node:fs";

/**
 * Mixes the host's random bytes into the kernel's pool. A write to the device mixes and does not credit: the next reseed of the
 * kernel's generator uses it. Crediting needs an ioctl, which neither Node nor the image has; it is not needed, since the kernel
 * seeded its generator before any program ran, and mixing can make it no worse whoever chose the bytes.
 */
export function mixEntropy(bytes: Uint8Array): void {
  writeFileSync("/dev/urandom", bytes);
}
