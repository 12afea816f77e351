import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fail as secretsFail } from "@lobsterd/secrets/errors.ts";

const root = join(import.meta.dirname, "../..");
const pages = globSync(
  "{README.md,docs/**/*.md,services/*/README.md,services/*/src/**/README.md,deploy/**/README.md}",
  {
    cwd: root,
    exclude: (path) => path.includes("node_modules"),
  },
);

for (const page of pages) {
  test(`links of ${page} lead to files`, () => {
    const text = readFileSync(join(root, page), "utf8");
    const targets = [...text.replaceAll(/`[^`\n]*`/g, "").matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(
      ([, target = ""]) => target,
    );
    const missing = targets.filter(
      (target) => !/^[a-z]+:/.test(target) && !existsSync(join(root, dirname(page), target)),
    );
    assert.deepEqual(missing, []);
  });
}

test("every make target that a page names exists", () => {
  const targets = new Set(
    [...readFileSync(join(root, "Makefile"), "utf8").matchAll(/^([a-z-]+):/gm)].map(([, name]) => name),
  );
  for (const page of pages) {
    const named = [...readFileSync(join(root, page), "utf8").matchAll(/(?:`|^)make ([a-z]+(?:-[a-z]+)*)\b/gm)].map(
      ([, name]) => name,
    );
    for (const name of named) assert.ok(targets.has(name ?? ""), `${page} names make ${name}`);
  }
});

test("each service has a README with the parts that an operator looks for", () => {
  for (const service of ["vm", "net", "proxy", "secrets", "audit"]) {
    const text = readFileSync(join(root, `services/${service}/README.md`), "utf8");
    for (const part of [/does \**not\**|never/i, /RPC/, /event/i, /privilege/i, /trust/i, /test/i]) {
      assert.match(text, part, `services/${service}/README.md: ${part}`);
    }
  }
});

test("the README of secrets lists every reason and every event of it, and no other", () => {
  const text = readFileSync(join(root, "services/secrets/README.md"), "utf8");
  const listed = (heading: string, name: RegExp) => {
    const [, list = ""] = new RegExp(`^${heading}: (.*?)\\n\\n`, "ms").exec(text) ?? [];
    return [...list.matchAll(name)].map(([, found]) => found).toSorted();
  };
  assert.deepEqual(listed("Reasons", /`([A-Z][A-Z_]+)`/g), secretsFail.reasons.toSorted());
  const source = readFileSync(join(root, "services/secrets/src/events.ts"), "utf8");
  const events = [...source.matchAll(/(?:tell\([\w."]*, |name: )"([a-z-]+)"/g)].map(([, name]) => name).toSorted();
  assert.ok(events.length > 10);
  assert.deepEqual(listed("Events", /`([a-z-]+)`/g), events);
});

test("every direct dependency is explained in one line of docs/dependencies.md, and pinned exactly", () => {
  const manifests = globSync("{package.json,proto/package.json,services/*/package.json,deploy/package.json}", {
    cwd: root,
  });
  const text = readFileSync(join(root, "docs/dependencies.md"), "utf8");
  for (const manifest of manifests) {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(join(root, manifest), "utf8"));
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      assert.match(String(version), /^\d+\.\d+\.\d+$/, `${name} in ${manifest}`);
      if (!name.startsWith("@lobsterd/"))
        assert.ok(text.includes(`\`${name}\``), `${name} of ${manifest} is not explained`);
    }
  }
});
