import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { type DecodedPacket, decode, encode, RECURSION_DESIRED, type RecordType } from "dns-packet";
import { answerQuery } from "./answer.ts";

const published = new Map([
  ["demo", "10.201.0.1"],
  ["foo", "10.201.0.3"],
  ["foo-ws", "10.201.0.5"],
]);
const lookup = (tenant: string): string | undefined => published.get(tenant);

function ask(name: string, type: RecordType = "A", id = 4711): DecodedPacket & { rcode?: string } {
  const query = encode({ type: "query", id, flags: RECURSION_DESIRED, questions: [{ type, name }] });
  const answer = answerQuery(query, lookup);
  assert.ok(answer !== undefined);
  const packet = decode(Buffer.from(answer));
  assert.equal(packet.id, id);
  assert.equal(packet.type, "response");
  return packet;
}

describe("answerQuery", () => {
  it("answers A of a published tenant with its address and TTL 0", () => {
    const packet = ask("demo.guest.internal");
    assert.equal(packet.rcode, "NOERROR");
    assert.equal(packet.flag_aa, true);
    assert.equal(packet.flag_rd, true);
    assert.deepEqual(
      packet.answers?.map((answer) => [
        answer.name,
        answer.type,
        "ttl" in answer && answer.ttl,
        "data" in answer && answer.data,
      ]),
      [["demo.guest.internal", "A", 0, "10.201.0.1"]],
    );
  });

  it("keeps names apart of which one begins the other", () => {
    const addressOf = (name: string): unknown => ask(name).answers?.map((answer) => "data" in answer && answer.data);
    assert.deepEqual(addressOf("foo.guest.internal"), ["10.201.0.3"]);
    assert.deepEqual(addressOf("foo-ws.guest.internal"), ["10.201.0.5"]);
  });

  it("gives the question back as it was asked, whatever its case", () => {
    const packet = ask("DeMo.Guest.INTERNAL");
    assert.equal(packet.questions?.[0]?.name, "DeMo.Guest.INTERNAL");
    assert.equal(packet.answers?.length, 1);
  });

  it("answers AAAA of a published tenant with no records", () => {
    const packet = ask("demo.guest.internal", "AAAA");
    assert.equal(packet.rcode, "NOERROR");
    assert.equal(packet.answers?.length, 0);
  });

  for (const type of ["A", "AAAA"] as const) {
    it(`answers ${type} of an unknown tenant with NXDOMAIN`, () => {
      const packet = ask("nobody.guest.internal", type);
      assert.equal(packet.rcode, "NXDOMAIN");
      assert.equal(packet.answers?.length, 0);
    });
  }

  for (const name of [
    "demo.guest.internal.example.com",
    "demo.example.com",
    "x.demo.guest.internal",
    "demoXguest.internal",
    "guest.internal",
    "internal",
    ".",
    "-demo.guest.internal",
    "demo-.guest.internal",
    "1demo.guest.internal",
    `${"a".repeat(41)}.guest.internal`,
  ]) {
    it(`refuses the name ${name}`, () => {
      const packet = ask(name);
      assert.equal(packet.rcode, "REFUSED");
      assert.equal(packet.answers?.length, 0);
    });
  }

  for (const type of ["TXT", "ANY", "NS", "SOA", "AXFR", "MX", "SRV"] as const) {
    it(`refuses type ${type} even of a published tenant`, () => {
      const query = encode({
        type: "query",
        id: 1,
        questions: [{ type: type as RecordType, name: "demo.guest.internal" }],
      });
      const packet = decode(Buffer.from(answerQuery(query, lookup) ?? []));
      assert.deepEqual(
        { rcode: "rcode" in packet && packet.rcode, answers: packet.answers?.length },
        { rcode: "REFUSED", answers: 0 },
      );
    });
  }

  it("refuses a class other than IN", () => {
    const query = encode({
      type: "query",
      id: 1,
      questions: [{ type: "A", name: "demo.guest.internal", class: "CH" }],
    });
    const packet = decode(Buffer.from(answerQuery(query, lookup) ?? []));
    assert.equal("rcode" in packet && packet.rcode, "REFUSED");
  });

  it("does not answer answers", () => {
    const response = encode({ type: "response", id: 1, questions: [{ type: "A", name: "demo.guest.internal" }] });
    assert.equal(answerQuery(response, lookup), undefined);
  });

  it("reports two questions as a format error", () => {
    const question = { type: "A", name: "demo.guest.internal" } as const;
    const packet = decode(Buffer.from(answerQuery(encode({ id: 7, questions: [question, question] }), lookup) ?? []));
    assert.deepEqual([packet.id, "rcode" in packet && packet.rcode], [7, "FORMERR"]);
  });

  it("survives random bytes, cut queries and flipped bits, and never leaks an address of another name", () => {
    const query = encode({ type: "query", id: 9, questions: [{ type: "A", name: "demo.guest.internal" }] });
    const inputs: Uint8Array[] = [];
    for (let length = 0; length <= query.length; length += 1) inputs.push(query.subarray(0, length));
    for (let bit = 0; bit < query.length * 8; bit += 1) {
      const flipped = Uint8Array.from(query);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      inputs.push(flipped);
    }
    for (let round = 0; round < 20_000; round += 1) inputs.push(randomBytes(round % 600));
    // Compression pointers to themselves and to each other are the classic endless loop.
    inputs.push(Buffer.concat([query.subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]));
    inputs.push(Buffer.concat([query.subarray(0, 12), Buffer.from([0xc0, 0x0e, 0xc0, 0x0c, 0, 1, 0, 1])]));
    let answered = 0;
    for (const input of inputs) {
      const answer = answerQuery(input, lookup);
      if (answer === undefined) continue;
      answered += 1;
      assert.ok(answer.length <= 600, `answer of ${answer.length} bytes to ${Buffer.from(input).toString("hex")}`);
      const packet = decode(Buffer.from(answer));
      for (const record of packet.answers ?? []) {
        const name = record.name.toLowerCase().replace(/\.guest\.internal$/, "");
        assert.equal("data" in record && record.data, published.get(name));
      }
    }
    assert.ok(answered > 1000, `only ${answered} inputs were answered`);
  });
});
