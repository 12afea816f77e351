import { create } from "@bufbuild/protobuf";
import {
  type GetInclusionProofRequest,
  type GetInclusionProofResponse,
  GetInclusionProofResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fail } from "../errors.ts";
import type { AuditContext } from "../service.ts";

export function getInclusionProof({ log }: AuditContext) {
  return ({ sequence, treeSize }: GetInclusionProofRequest): GetInclusionProofResponse => {
    const tree = log.tree();
    if (treeSize > tree.size) {
      throw fail("NOT_IN_TREE", `the log has ${tree.size} records`, { metadata: { field: "tree_size" } });
    }
    if (sequence >= treeSize) {
      throw fail("NOT_IN_TREE", "the record is not in a tree of that size", { metadata: { field: "sequence" } });
    }
    return create(GetInclusionProofResponseSchema, {
      hashes: [...tree.inclusionProof(Number(sequence), Number(treeSize))],
    });
  };
}
