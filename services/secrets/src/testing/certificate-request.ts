import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A certificate request in PEM, made with the openssl program, and the path of its key. It asks to be `svc/vm` of the tests' domain, and an authority. */
export function certificateRequest(
  directory: string,
  name: string,
  algorithm: readonly string[] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
): { csrPem: string; keyPath: string } {
  const [keyPath, path] = [join(directory, `${name}.client.key.pem`), join(directory, `${name}.client.csr`)];
  const asked = [
    ...["-subj", "/O=lobsterd/CN=vm", "-addext", "subjectAltName=URI:spiffe://dev.test/svc/vm"],
    ...["-addext", "basicConstraints=critical,CA:TRUE"],
  ];
  const made = ["-newkey", ...algorithm, "-nodes", "-keyout", keyPath, "-out", path];
  execFileSync("openssl", ["req", "-new", ...made, ...asked], { stdio: "pipe", timeout: 20_000 });
  return { csrPem: readFileSync(path, "utf8"), keyPath };
}
