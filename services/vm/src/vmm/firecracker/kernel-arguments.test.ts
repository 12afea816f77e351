import assert from "node:assert/strict";
import { test } from "node:test";
import { bootCalls } from "./machine-document.ts";
import { fuzzKernelArguments } from "./testing/kernel-argument-fuzz.ts";

test("a guest has no console, no IPv6, and ends its VMM when it panics", () => {
  const source = bootCalls({ vcpuCount: 1, memoryMib: 128 }).find(({ call }) => call === "putBootSource");
  assert.ok(source?.call === "putBootSource");
  assert.equal(
    source.body.boot_args,
    "reboot=k panic=-1 quiet 8250.nr_uarts=0 ipv6.disable=1 i8042.noaux i8042.nomux i8042.dumbkbd",
  );
});

test("of 20,000 inputs none changes where one argument ends and the next begins", () =>
  fuzzKernelArguments(20_000, 20_260_726));
