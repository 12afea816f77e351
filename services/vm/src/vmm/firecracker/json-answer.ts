import { vmmFail } from "../port.ts";

const maxDepth = 16;
const [quote, backslash, openBrace, openBracket, closeBrace, closeBracket] = [...'"\\{[}]'].map((c) => c.charCodeAt(0));

/** JSON that a VMM wrote: UTF-8, nested at most 16 deep. Throws INVALID_ANSWER. The caller bounds its size. */
export function parseJsonAnswer(bytes: Uint8Array): unknown {
  if (depthOf(bytes) > maxDepth) throw vmmFail("INVALID_ANSWER", `the VMM's answer is nested deeper than ${maxDepth}`);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw vmmFail("INVALID_ANSWER", "the VMM's answer is not JSON", { cause });
  }
}

/** The deepest nesting, found before anything is built; exact for JSON, and of no consequence for what is not. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (inString) {
      if (byte === backslash) at += 1;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === openBrace || byte === openBracket) {
      depth += 1;
      deepest = Math.max(deepest, depth);
    } else if (byte === closeBrace || byte === closeBracket) depth -= 1;
  }
  return deepest;
}
