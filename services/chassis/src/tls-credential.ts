import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { fileStamp } from "./file-stamp.ts";

const checkIntervalMs = 1000;
const maxFileBytes = 1024 * 1024;

/** PEM files of one end of a connection: its leaf, the leaf's key, and the only authorities that the other end is verified with. */
export interface CredentialFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly caPath: string;
  /** On a server: the authority of clients that `secrets` issued. */
  readonly clientsCaPath?: string | undefined;
}

/** What the files held at one moment. The certificate is that key's. */
export interface TlsCredential {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
  readonly clientsCa?: Buffer;
  /** Differs whenever one of the files was written again. */
  readonly stamp: string;
}

/** The credential in force now. */
export type CredentialSource = () => TlsCredential;

/** Reads the files. Throws if one cannot be read or the certificate is not that key's, as in the moment between writing the two. */
export function readCredential(files: CredentialFiles): TlsCredential {
  const stamp = stampOf(files);
  const [cert, key, ca] = [files.certificatePath, files.keyPath, files.caPath].map(readBounded);
  if (cert === undefined || key === undefined || ca === undefined)
    throw new Error("unreachable: three files were read");
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new Error(`${files.keyPath} is not the key of ${files.certificatePath}`);
  }
  const clientsCa = files.clientsCaPath === undefined ? {} : { clientsCa: readBounded(files.clientsCaPath) };
  return { cert, key, ca, ...clientsCa, stamp };
}

/**
 * Reads the files at the first call and follows them: a change counts within a second, so a certificate is renewed without a restart. Files
 * that are not usable, as between writing the one and the other, leave in force what was read last. Throws while nothing was read yet.
 */
export function followCredential(files: CredentialFiles, nowMs: () => number = Date.now): CredentialSource {
  let current: TlsCredential | undefined;
  let checkedMs = 0;
  return () => {
    const now = nowMs();
    if (current !== undefined && Math.abs(now - checkedMs) < checkIntervalMs) return current;
    checkedMs = now;
    try {
      if (current === undefined || stampOf(files) !== current.stamp) current = readCredential(files);
    } catch (error) {
      if (current === undefined) throw error;
    }
    return current;
  };
}

/** What `credential` is known by now; `undefined` before its files could be read once. */
export function currentStamp(credential: CredentialSource): string | undefined {
  try {
    return credential().stamp;
  } catch {
    return undefined;
  }
}

function readBounded(path: string): Buffer {
  if (statSync(path).size > maxFileBytes) throw new RangeError(`${path} is larger than ${maxFileBytes} bytes`);
  return readFileSync(path);
}

function stampOf({ certificatePath, keyPath, caPath, clientsCaPath }: CredentialFiles): string {
  return [certificatePath, keyPath, caPath, ...(clientsCaPath === undefined ? [] : [clientsCaPath])]
    .map((path) => fileStamp(statSync(path, { bigint: true })))
    .join(" ");
}
