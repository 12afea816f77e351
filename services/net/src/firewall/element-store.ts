import type { ElementName, ListedElement } from "../netlink/nft-element.ts";
import type { ElementChange } from "../netlink/nftables.ts";

/** A transaction was refused, or there is no such set: nothing has changed. */
export class ElementsRefused extends Error {
  override readonly name = "ElementsRefused";
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string, cause: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

/** `overlap`: of a range with another one that is not the same. */
export type RefusalReason = "no-such-set" | "set-full" | "overlap" | "other";

/**
 * Elements of the sets of table `inet lobsterd`, in the kernel. Every call throws `ElementsRefused` if nothing was done; after
 * any other error it is not known what was, and the sets have to be read. All calls may be repeated.
 */
export interface ElementStore {
  /** One transaction: resolves once the kernel has made all changes, in this order. `set-full` counts elements to delete too. */
  change(changes: readonly ElementChange[]): Promise<void>;
  /** All elements of a set, as of one moment, in no order. */
  list(set: string): Promise<readonly ListedElement[]>;
  /** These elements in the order given, `undefined` for those absent. Not for sets with `flags interval` and one field. */
  find(names: readonly ElementName[]): Promise<readonly (ListedElement | undefined)[]>;
  /**
   * The ruleset's generation: every committed transaction of whoever makes it one higher. `undefined` where the kernel cannot be
   * asked cheaply.
   */
  generation(): number | undefined;
}
