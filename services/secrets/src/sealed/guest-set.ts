import { fail } from "../errors.ts";
import type { BoundSecret, SecretRecord } from "../store/secret-store.ts";
import { maxBoundSecrets, maxBoxBytes } from "./limits.ts";
import { collide } from "./targets.ts";

/** Labels of a tenant, as it was spawned with. */
export type Labels = Readonly<Record<string, string>>;

/** True if a shared secret is for a tenant with these labels. */
export function isFor({ label }: Pick<SecretRecord, "label">, labels: Labels): boolean {
  return label !== undefined && Object.hasOwn(labels, label.key) && labels[label.key] === label.value;
}

/**
 * The secrets of one guest, by name: all of the tenant's own, and the shared ones for its labels that no own one stands before, by name or by
 * place. Throws TARGET_TAKEN if two shared ones want the same place (each is right for its own label), and SECRET_LIMIT or
 * SECRET_SIZE_LIMIT if own and shared ones are too many for one injection.
 */
export function guestSet<T extends BoundSecret>(own: readonly T[], shared: readonly T[], labels: Labels): T[] {
  const set = [...own];
  for (const candidate of shared) {
    if (!isFor(candidate, labels) || own.some((secret) => collide(secret, candidate))) continue;
    const taken = set.find((secret) => collide(secret, candidate));
    if (taken !== undefined) {
      throw fail("TARGET_TAKEN", "two shared secrets for this tenant's labels want the same place", {
        metadata: { secret_name: candidate.name, other_secret_name: taken.name },
      });
    }
    set.push(candidate);
  }
  if (set.length > maxBoundSecrets) {
    throw fail("SECRET_LIMIT", `a guest has at most ${maxBoundSecrets} secrets, own and shared`, {
      metadata: { limit: `${maxBoundSecrets}` },
    });
  }
  if (set.reduce((sum, { boxBytes }) => sum + boxBytes, 0) > maxBoxBytes) {
    throw fail("SECRET_SIZE_LIMIT", `a guest's secrets, own and shared, have at most ${maxBoxBytes} bytes together`);
  }
  return set.sort((one, other) => (one.name < other.name ? -1 : 1));
}
