import type { ListedElement, SetElement } from "../netlink/nft-element.ts";
import type { KeyPart } from "../netlink/nft-key.ts";

/** The element in nft's words. */
export function elementText({ key, keyEnd, limit }: Omit<SetElement, "set">): string {
  const parts = key.map((part, at) => {
    const end = keyEnd?.[at];
    const first = partText(part);
    return end === undefined || partText(end) === first ? first : `${first}-${partText(end)}`;
  });
  const rate = limit === undefined ? "" : ` limit rate ${limit.ratePerSecond}/second burst ${limit.burst} packets`;
  return `${parts.join(" . ")}${rate}`;
}

/** The same text for equal elements of one set, and for no others; one with a limit that is not understood is like no other. */
export function elementId(element: SetElement & Partial<Pick<ListedElement, "others">>): string {
  return [element.set, elementText(element), ...(element.others ?? [])].join(" ");
}

function partText({ type, value }: KeyPart): string {
  return type === "ifname" ? `"${value}"` : String(value);
}
