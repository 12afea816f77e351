import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Paths of one leaf. */
export interface TestLeaf {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** An authority for tests. */
export interface TestAuthority {
  readonly caPath: string;
  /**
   * Issues a P-256 leaf, valid for a day and for both ends of a connection. `uris` are its URI names (usually one); DNS
   * `localhost` and IP `127.0.0.1` stand beside them. `days` may be negative for one that has expired.
   */
  issue(name: string, uris: readonly string[], options?: { days?: number }): TestLeaf;
}

const limits = { timeout: 20_000, maxBuffer: 1024 * 1024, stdio: "pipe" } as const;

/** Makes a certificate authority called `name` in `directory` with the openssl program. */
export function testCertificates(directory: string, name = "platform-ca"): TestAuthority {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const caPath = join(directory, `${name}.pem`);
  const caKeyPath = join(directory, `${name}.key.pem`);
  makeKey(caKeyPath);
  openssl("req", "-x509", "-new", "-key", caKeyPath, "-out", caPath, "-days", "2", "-subj", `/CN=${name}`);
  return {
    caPath,
    issue(leaf, uris, options = {}) {
      const keyPath = join(directory, `${leaf}.key.pem`);
      const certificatePath = join(directory, `${leaf}.pem`);
      const requestPath = join(directory, `${leaf}.csr`);
      const extensionPath = join(directory, `${leaf}.ext`);
      const names = [...uris.map((uri) => `URI:${uri}`), "DNS:localhost", "IP:127.0.0.1"].join(",");
      writeFileSync(
        extensionPath,
        `basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=${names}\n`,
      );
      makeKey(keyPath);
      openssl("req", "-new", "-key", keyPath, "-out", requestPath, "-subj", `/CN=${leaf}`);
      const days = String(options.days ?? 1);
      const signed = ["-CA", caPath, "-CAkey", caKeyPath, "-CAcreateserial", "-extfile", extensionPath, "-days", days];
      openssl("x509", "-req", "-in", requestPath, "-out", certificatePath, ...signed);
      return { certificatePath, keyPath };
    },
  };
}

function makeKey(path: string): void {
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path);
}

function openssl(...args: string[]): void {
  execFileSync("openssl", args, limits);
}
