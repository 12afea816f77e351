import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { decodeHeader, encodeHeader } from "./header.ts";
import { openSet, SealBrokenError } from "./open-set.ts";
import { sealSet } from "./seal-set.ts";
import { exampleHeader, growingPartOf, orderOf, partOf, recordEdges, scratch } from "./testing.ts";

interface Sealed {
  readonly file: Buffer;
  readonly edges: readonly number[];
}

type Mutation = (own: Sealed, other: Sealed) => Buffer;

const flipBit: Mutation = ({ file }) => {
  const changed = Buffer.from(file);
  const at = randomInt(file.length);
  changed[at] = (changed[at] ?? 0) ^ (1 << randomInt(8));
  return changed;
};

const truncate: Mutation = ({ file, edges }) =>
  file.subarray(0, randomInt(2) === 0 ? (edges[randomInt(edges.length - 1)] ?? 0) : randomInt(file.length));

const extend: Mutation = ({ file }) => Buffer.concat([file, randomBytes(1 + randomInt(40))]);

function records({ file, edges }: Sealed): Buffer[] {
  return edges.slice(0, -1).map((edge, index) => file.subarray(edge, edges[index + 1]));
}

const headOf = ({ file, edges }: Sealed): Buffer => file.subarray(0, edges[0]);
const withRecords = (own: Sealed, list: readonly Buffer[]): Buffer => Buffer.concat([headOf(own), ...list]);

const reorder: Mutation = (own) => {
  const list = records(own);
  const [from, to] = [randomInt(list.length), randomInt(list.length)];
  const [moved] = list.splice(from, 1);
  list.splice(to === from ? (to + 1) % (list.length + 1) : to, 0, moved ?? Buffer.alloc(0));
  return withRecords(own, list);
};

const repeat: Mutation = (own) => {
  const list = records(own);
  const at = randomInt(list.length);
  return withRecords(own, list.toSpliced(at, 0, list[at] ?? Buffer.alloc(0)));
};

const drop: Mutation = (own) => {
  const list = records(own);
  return withRecords(own, list.toSpliced(randomInt(list.length), 1));
};

/** A record of another set under the same data key, at the same place. */
const splice: Mutation = (own, other) => {
  const at = randomInt(own.edges.length - 1);
  return withRecords(own, records(own).with(at, records(other)[at] ?? Buffer.alloc(0)));
};

const changeHeader =
  (change: Readonly<Record<string, unknown>>): Mutation =>
  ({ file, edges }) => {
    const header = decodeHeader(file.subarray(0, edges[0]));
    assert.ok(header !== undefined);
    return Buffer.concat([encodeHeader({ ...header, ...change }), file.subarray(edges[0])]);
  };

const kinds: Readonly<Record<string, Mutation>> = {
  flipBit,
  truncate,
  extend,
  reorder,
  repeat,
  drop,
  splice,
  otherHeader: (own, other) => Buffer.concat([headOf(other), ...records(own)]),
  otherTenant: changeHeader({ tenant: "mallory" }),
  olderGeneration: changeHeader({ generation: 2 }),
  otherCounter: changeHeader({ counter: 8 }),
  asBackup: changeHeader({ kind: "backup" }),
  otherMachine: changeHeader({ machine: { ...exampleHeader.machine, memoryMib: 256 } }),
};

/** Makes `mutations` changed copies of a sealed set and throws for the first that is accepted, or refused by anything but a SealBrokenError. */
export async function refuseChangedSets(t: TestContext, mutations: number): Promise<void> {
  const directory = scratch(t);
  const dataKey = randomBytes(32);
  const make = async (name: string, counter: number): Promise<Sealed> => {
    const path = join(directory, name);
    const parts = [
      partOf("memory", randomBytes(400)),
      partOf("state", randomBytes(100)),
      growingPartOf("more", randomBytes(50)),
      partOf("end", randomBytes(9)),
    ];
    await sealSet(orderOf(path, parts, { dataKey, header: { ...exampleHeader, counter } }));
    return { file: readFileSync(path), edges: recordEdges(path) };
  };
  const [own, other] = [await make("own", 7), await make("other", 6)];
  const path = join(directory, "changed");
  const names = Object.keys(kinds);
  for (let round = 0; round < mutations; round += 1) {
    const name = names[round % names.length] ?? "";
    const changed = kinds[name]?.(own, other) ?? own.file;
    if (changed.equals(own.file)) continue;
    writeFileSync(path, changed);
    let accepted = true;
    try {
      await openSet(
        path,
        async () => Uint8Array.from(dataKey),
        async () => undefined,
      );
    } catch (error) {
      accepted = false;
      assert.ok(error instanceof SealBrokenError, `${name}: ${error}`);
    }
    assert.ok(!accepted, `${name} was accepted: ${changed.toString("base64")}`);
  }
}
