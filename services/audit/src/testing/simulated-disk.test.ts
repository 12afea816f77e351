import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileHeader } from "../log/frame.ts";
import { describeLogFile } from "./log-file.conformance.ts";
import { SimulatedDisk } from "./simulated-disk.ts";

describeLogFile("simulated disk", async () => new SimulatedDisk());

describe("simulated disk at a power cut", () => {
  it("keeps what was synced and may lose the rest", async () => {
    const disk = new SimulatedDisk();
    await disk.append(Buffer.from("synced"));
    await disk.sync();
    await disk.append(Buffer.from("unsynced"));
    const withLuck = disk.powerCut(() => 0);
    const without = disk.powerCut(() => 0.9);
    assert.equal(withLuck.content().subarray(fileHeader.length).toString(), "syncedunsynced");
    assert.equal(without.content().subarray(fileHeader.length).toString(), "synced");
  });
});
