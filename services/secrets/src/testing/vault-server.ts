import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { TLSSocket } from "node:tls";

interface TransitKey {
  readonly derived: boolean;
  readonly versions: { readonly material: Buffer; readonly creationTime: number }[];
  deletionAllowed: boolean;
  minDecryptionVersion: number;
  minEncryptionVersion: number;
}

/** How the server answers instead of serving: with a status and body, not at all, or without end. */
export type VaultFault = { readonly status: number; readonly body: string } | "hang" | "endless";

export interface VaultServer {
  readonly address: string;
  readonly keys: ReadonlyMap<string, unknown>;
  /** Every request, as `METHOD path`. */
  readonly requests: readonly string[];
  /** Bytes of endless answers that were taken, of which each has 64 MiB at most. */
  readonly endlessBytes: number;
  /** While it is set every request gets it. */
  fault: VaultFault | undefined;
  /** Deletions are taken and done nothing about, as by a server that only marks. */
  deletesSoftly: boolean;
  /** Takes the key away or makes another one of the same name. */
  deleteKey(name: string): void;
  makeKey(name: string): void;
  close(): Promise<void>;
}

const endlessPiece = Buffer.alloc(64 * 1024, "x");
const maxEndlessBytes = 64 * 1024 * 1024;

type Body = Readonly<Record<string, unknown>>;
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Speaks the transit engine's HTTP API over TLS: keys (make, read, configure, rotate, delete), encrypt, decrypt, rewrap and datakey, with the
 * server's own words and statuses for what it refuses, among them two traps: `encrypt` makes a key that is missing, and a key without
 * `deletion_allowed` is not deleted.
 */
export async function vaultServer(options: {
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly token: string;
}): Promise<VaultServer> {
  const keys = new Map<string, TransitKey>();
  const requests: string[] = [];
  const sockets = new Set<TLSSocket>();
  const state: { fault: VaultFault | undefined; deletesSoftly: boolean; endlessBytes: number } = {
    ...{ fault: undefined, deletesSoftly: false, endlessBytes: 0 },
  };
  let clock = Date.now();

  const material = () => {
    clock += 1;
    return { material: randomBytes(32), creationTime: clock };
  };
  const newKey = (derived: boolean): TransitKey => ({
    ...{ derived, versions: [material()], deletionAllowed: false, minDecryptionVersion: 1, minEncryptionVersion: 0 },
  });

  function find(name: string): TransitKey {
    const key = keys.get(name);
    if (key === undefined) throw new Refusal(400, "encryption key not found");
    return key;
  }

  function keyFor(key: TransitKey, version: number, context: unknown): Buffer {
    const chosen = key.versions[version - 1];
    if (chosen === undefined) throw new Refusal(400, "invalid ciphertext: version is too new");
    if (version < key.minDecryptionVersion) {
      throw new Refusal(400, "ciphertext or signature version is disallowed by policy (too old)");
    }
    if (!key.derived) return chosen.material;
    if (typeof context !== "string" || context === "") {
      throw new Refusal(400, "missing 'context' for key derivation; the key was created using a derived key");
    }
    return createHmac("sha256", chosen.material).update(Buffer.from(context, "base64")).digest();
  }

  function encrypt(key: TransitKey, plaintext: Buffer, context: unknown): string {
    const version = key.versions.length;
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", keyFor(key, version, context), nonce);
    const sealed = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    return `vault:v${version}:${sealed.toString("base64")}`;
  }

  function decrypt(key: TransitKey, ciphertext: unknown, context: unknown): Buffer {
    const parts = typeof ciphertext === "string" ? /^vault:v([0-9]+):(.+)$/.exec(ciphertext) : null;
    if (parts === null) throw new Refusal(400, "invalid ciphertext: no prefix");
    const sealed = Buffer.from(parts[2] ?? "", "base64");
    const material = keyFor(key, Number(parts[1]), context);
    try {
      const decipher = createDecipheriv("aes-256-gcm", material, sealed.subarray(0, 12));
      decipher.setAuthTag(sealed.subarray(-16));
      return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
    } catch {
      throw new Refusal(400, "cipher: message authentication failed");
    }
  }

  function configure(key: TransitKey, body: Body): Body {
    if (typeof body["deletion_allowed"] === "boolean") key.deletionAllowed = body["deletion_allowed"];
    if (typeof body["min_decryption_version"] === "number") key.minDecryptionVersion = body["min_decryption_version"];
    if (typeof body["min_encryption_version"] === "number") key.minEncryptionVersion = body["min_encryption_version"];
    return describe(key);
  }

  function describe(key: TransitKey): Body {
    return {
      ...{ type: "aes256-gcm96", derived: key.derived, deletion_allowed: key.deletionAllowed, exportable: false },
      ...{ min_decryption_version: key.minDecryptionVersion, min_encryption_version: key.minEncryptionVersion },
      latest_version: key.versions.length,
      keys: Object.fromEntries(key.versions.map(({ creationTime }, index) => [`${index + 1}`, creationTime])),
    };
  }

  function remove(name: string): undefined {
    const key = keys.get(name);
    if (key === undefined) throw new Refusal(400, `error deleting policy ${name}: could not delete key; not found`);
    if (!key.deletionAllowed)
      throw new Refusal(400, `error deleting policy ${name}: deletion is not allowed for this key`);
    if (!state.deletesSoftly) keys.delete(name);
  }

  const routes: readonly [method: string, path: RegExp, run: (name: string, body: Body) => Body | undefined][] = [
    [
      "POST",
      /^keys\/([\w-]+)$/,
      (name, { derived }) => void (keys.has(name) || keys.set(name, newKey(derived === true))),
    ],
    [
      "GET",
      /^keys\/([\w-]+)$/,
      (name) => {
        const key = keys.get(name);
        if (key === undefined) throw new Refusal(404, "");
        return describe(key);
      },
    ],
    [
      "POST",
      /^keys\/([\w-]+)\/config$/,
      (name, body) => {
        const key = keys.get(name);
        if (key === undefined) throw new Refusal(400, `no existing key named ${name} could be found`);
        return configure(key, body);
      },
    ],
    ["POST", /^keys\/([\w-]+)\/rotate$/, (name) => void find(name).versions.push(material())],
    ["DELETE", /^keys\/([\w-]+)$/, remove],
    [
      "POST",
      /^encrypt\/([\w-]+)$/,
      (name, { plaintext, context }) => {
        // The upsert that a policy with `create` allows.
        const key = keys.get(name) ?? newKey(context !== undefined);
        keys.set(name, key);
        return {
          ciphertext: encrypt(key, Buffer.from(String(plaintext), "base64"), context),
          key_version: key.versions.length,
        };
      },
    ],
    [
      "POST",
      /^decrypt\/([\w-]+)$/,
      (name, { ciphertext, context }) => ({ plaintext: decrypt(find(name), ciphertext, context).toString("base64") }),
    ],
    [
      "POST",
      /^rewrap\/([\w-]+)$/,
      (name, { ciphertext, context }) => {
        const key = find(name);
        return {
          ciphertext: encrypt(key, decrypt(key, ciphertext, context), context),
          key_version: key.versions.length,
        };
      },
    ],
    [
      "POST",
      /^datakey\/wrapped\/([\w-]+)$/,
      (name, { context, bits }) => {
        const key = find(name);
        return {
          ciphertext: encrypt(key, randomBytes(Number(bits ?? 256) / 8), context),
          key_version: key.versions.length,
        };
      },
    ],
  ];

  function serve(request: IncomingMessage, body: Body): { status: number; body: string } {
    const path = (request.url ?? "").replace(/^\/v1\/transit\//, "");
    requests.push(`${request.method} ${path}`);
    if (request.headers["x-vault-token"] !== options.token) return errors(403, "permission denied");
    for (const [method, pattern, run] of routes) {
      const name = method === request.method ? pattern.exec(path)?.[1] : undefined;
      if (name === undefined) continue;
      try {
        const data = run(name, body);
        return data === undefined ? { status: 204, body: "" } : { status: 200, body: JSON.stringify({ data }) };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return error.message === "" ? errors(error.status) : errors(error.status, error.message);
      }
    }
    return errors(404, `no handler for route "${path}"`);
  }

  function answer(request: IncomingMessage, response: ServerResponse, body: Body): void {
    const { fault } = state;
    if (fault === "hang") return;
    if (fault === "endless") {
      response.writeHead(200);
      let left = maxEndlessBytes;
      const write = () => {
        if (response.destroyed || left <= 0) return;
        left -= endlessPiece.length;
        state.endlessBytes += endlessPiece.length;
        if (response.write(endlessPiece)) setImmediate(write);
        else response.once("drain", write);
      };
      write();
      return;
    }
    const { status, body: text } = fault ?? serve(request, body);
    response.writeHead(status, { "content-type": "application/json" }).end(text);
  }

  const server = createServer({ cert: readFileSync(options.certificatePath), key: readFileSync(options.keyPath) });
  server.on("secureConnection", (socket: TLSSocket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => answer(request, response, JSON.parse(Buffer.concat(chunks).toString() || "{}") as Body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("no port");
  return Object.assign(state, {
    address: `https://localhost:${bound.port}`,
    keys,
    requests,
    deleteKey: (name: string) => void keys.delete(name),
    makeKey: (name: string) => void keys.set(name, newKey(true)),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

function errors(status: number, ...messages: string[]): { status: number; body: string } {
  return { status, body: JSON.stringify({ errors: messages }) };
}
