import { createHash } from "node:crypto";
import type { Component } from "./components.ts";

/**
 * A bill of materials as CycloneDX 1.6 JSON. The same components give the same text: it has no time, and its serial number is a
 * digest of what it lists.
 */
export function cycloneDx(
  subject: { readonly name: string; readonly version: string },
  components: readonly Component[],
): string {
  const listed = components.map(({ name, version, purl, hash, license }) => ({
    type: "library",
    "bom-ref": purl,
    name,
    version,
    ...(hash === undefined ? {} : { hashes: [{ alg: hash.algorithm, content: hash.hex }] }),
    ...(license === undefined ? {} : { licenses: [licenseOf(license)] }),
    purl,
  }));
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify([subject, listed]))}`,
    version: 1,
    metadata: { component: { type: "application", "bom-ref": subject.name, ...subject } },
    components: listed,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** One SPDX identifier, or an expression of several. */
function licenseOf(license: string) {
  return /^[A-Za-z0-9.+-]+$/.test(license) && license !== "UNLICENSED"
    ? { license: { id: license } }
    : license.includes(" ")
      ? { expression: license.replace(/^\((.*)\)$/, "$1") }
      : { license: { name: license } };
}

/** RFC 9562 version 8: a UUID of the caller's own making. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
