import type { DescService } from "@bufbuild/protobuf";
import type { Routes } from "./routes.ts";

export function createReflection(_services: readonly DescService[]): Routes[] {
  return [];
}
