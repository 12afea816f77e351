import { Code } from "@connectrpc/connect";
import { defineErrors } from "./errors.ts";

const defaultPageSize = 50;
const maxPageSize = 500;
const maxTokenLength = 256;

const fail = defineErrors("lobsterd", { INVALID_PAGE_TOKEN: Code.InvalidArgument });

/** What a list request holds: the common `PageRequest`, or a message with one as `page`. */
type PagedRequest = { readonly page?: { readonly pageSize: number } | undefined } | { readonly pageSize: number };

/** An opaque token for "after `lastKey`". At most 190 bytes of key fit. */
export function encodePageToken(lastKey: string): string {
  const token = Buffer.from(`1${lastKey}`, "utf8").toString("base64url");
  if (token.length > maxTokenLength) throw new RangeError("key is too long for a page token");
  return token;
}

/** The key in a token; `""` for the empty token, which starts at the beginning. Throws INVALID_PAGE_TOKEN. */
export function decodePageToken(token: string): string {
  if (token === "") return "";
  const text = token.length > maxTokenLength ? "" : Buffer.from(token, "base64url").toString("utf8");
  if (!text.startsWith("1") || Buffer.from(text, "utf8").toString("base64url") !== token) {
    throw fail("INVALID_PAGE_TOKEN", "page_token is not one that this list returned", {
      metadata: { field: "page.page_token" },
    });
  }
  return text.slice(1);
}

/** Rows per page: 50 unless asked for, at most 500. */
export function pageSizeOf(request: PagedRequest | undefined): number {
  const asked = request === undefined ? 0 : "pageSize" in request ? request.pageSize : (request.page?.pageSize ?? 0);
  return asked <= 0 ? defaultPageSize : Math.min(asked, maxPageSize);
}
