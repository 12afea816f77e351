import { create } from "@bufbuild/protobuf";
import {
  type GetConsistencyProofRequest,
  type GetConsistencyProofResponse,
  GetConsistencyProofResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fail } from "../errors.ts";
import type { AuditContext } from "../service.ts";

export function getConsistencyProof({ log }: AuditContext) {
  return ({ oldTreeSize, newTreeSize }: GetConsistencyProofRequest): GetConsistencyProofResponse => {
    const tree = log.tree();
    if (newTreeSize > tree.size) {
      throw fail("NOT_IN_TREE", `the log has ${tree.size} records`, { metadata: { field: "new_tree_size" } });
    }
    if (oldTreeSize > newTreeSize) {
      throw fail("NOT_IN_TREE", "the old tree is larger than the new one", { metadata: { field: "old_tree_size" } });
    }
    return create(GetConsistencyProofResponseSchema, {
      hashes: [...tree.consistencyProof(Number(oldTreeSize), Number(newTreeSize))],
    });
  };
}
