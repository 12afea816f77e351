import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openAgentTokens } from "./agent-tokens.ts";

const directory = mkdtempSync(join(tmpdir(), "agent-tokens-"));
after(() => rmSync(directory, { recursive: true }));
const guest = "spiffe://dev.test/guest/demo/0/1";

test("a token is the same after a restart, and another one for every guest, generation and service", () => {
  const path = join(directory, "vm.key");
  const tokens = openAgentTokens(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.match(tokens.tokenFor(guest), /^[A-Za-z0-9_-]{43}$/);
  assert.equal(openAgentTokens(path).tokenFor(guest), tokens.tokenFor(guest));
  assert.notEqual(tokens.tokenFor("spiffe://dev.test/guest/demo/0/2"), tokens.tokenFor(guest));
  assert.notEqual(openAgentTokens(join(directory, "secrets.key")).tokenFor(guest), tokens.tokenFor(guest));
});

test("the digest is the token's SHA-256, and neither holds the key", () => {
  const path = join(directory, "other.key");
  const tokens = openAgentTokens(path);
  assert.deepEqual(tokens.digestFor(guest), createHash("sha256").update(tokens.tokenFor(guest)).digest());
  const key = readFileSync(path);
  assert.notEqual(tokens.tokenFor(guest), key.toString("base64url"));
});

test("a key that others can read, or of another size, is refused", () => {
  const path = join(directory, "open.key");
  writeFileSync(path, Buffer.alloc(32));
  chmodSync(path, 0o640);
  assert.throws(() => openAgentTokens(path), /only this process's user/);
  chmodSync(path, 0o600);
  openAgentTokens(path);
  writeFileSync(path, Buffer.alloc(31));
  assert.throws(() => openAgentTokens(path), /32 bytes/);
});
