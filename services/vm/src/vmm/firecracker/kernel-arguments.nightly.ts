import { test } from "node:test";
import { fuzzKernelArguments } from "./testing/kernel-argument-fuzz.ts";

test("of 1,000,000 inputs none changes where one kernel argument ends and the next begins", () =>
  fuzzKernelArguments(1_000_000, 4_711));
