import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
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
  /** An authority that this one signed; its leaves' files hold its certificate as well. */
  below(name: string): TestAuthority;
}

const limits = { timeout: 20_000, maxBuffer: 1024 * 1024, stdio: "pipe" } as const;

/** Makes a certificate authority called `name`, valid for `days`, in `directory` with the openssl program. */
export function testCertificates(directory: string, name = "platform-ca", days = 2): TestAuthority {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const caPath = join(directory, `${name}.pem`);
  const caKeyPath = join(directory, `${name}.key.pem`);
  makeKey(caKeyPath);
  openssl("req", "-x509", "-new", "-key", caKeyPath, "-out", caPath, "-days", String(days), "-subj", `/CN=${name}`);
  return authorityOf({ directory, caPath, caKeyPath, chain: "" });
}

interface Signer {
  readonly directory: string;
  readonly caPath: string;
  readonly caKeyPath: string;
  /** PEM of the authorities that a leaf has to bring along. */
  readonly chain: string;
}

function authorityOf(signer: Signer): TestAuthority {
  const { directory, caPath, chain } = signer;
  return {
    caPath,
    issue(name, uris, { days = 1 } = {}) {
      const names = [...uris.map((uri) => `URI:${uri}`), "DNS:localhost", "IP:127.0.0.1"].join(",");
      const usage = "extendedKeyUsage=serverAuth,clientAuth";
      const leaf = sign(signer, name, `basicConstraints=critical,CA:FALSE\n${usage}\nsubjectAltName=${names}\n`, days);
      if (chain !== "") appendFileSync(leaf.certificatePath, chain);
      return leaf;
    },
    below(name) {
      const { certificatePath, keyPath } = sign(signer, name, "basicConstraints=critical,CA:TRUE\n", 1);
      const own = readFileSync(certificatePath, "utf8");
      return authorityOf({ directory, caPath: certificatePath, caKeyPath: keyPath, chain: `${own}${chain}` });
    },
  };
}

function sign({ directory, caPath, caKeyPath }: Signer, name: string, extensions: string, days: number): TestLeaf {
  const keyPath = join(directory, `${name}.key.pem`);
  const certificatePath = join(directory, `${name}.pem`);
  const requestPath = join(directory, `${name}.csr`);
  const extensionPath = join(directory, `${name}.ext`);
  writeFileSync(extensionPath, extensions);
  makeKey(keyPath);
  openssl("req", "-new", "-key", keyPath, "-out", requestPath, "-subj", `/CN=${name}`);
  const signed = [
    "-CA",
    caPath,
    "-CAkey",
    caKeyPath,
    "-CAcreateserial",
    "-extfile",
    extensionPath,
    "-days",
    String(days),
  ];
  openssl("x509", "-req", "-in", requestPath, "-out", certificatePath, ...signed);
  return { certificatePath, keyPath };
}

function makeKey(path: string): void {
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path);
}

function openssl(...args: string[]): void {
  execFileSync("openssl", args, limits);
}
