import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";

// Not even an operator may append: a record says what a service verified, and `writer` would then be a person's word.
// `host` is root on the host, for what no service does: clients' certificates.
const writers = ["service:vm", "service:net", "service:proxy", "service:secrets", "service:host"] as const;
const readers = ["role:operator", "role:viewer"] as const;

/** Who may call what. Anything not named here is refused before its body is read. */
export const access: readonly AccessRule[] = [
  allow(AuditService, {
    appendRecord: writers,
    queryRecords: readers,
    getLatestOwnRecord: ["service:vm"],
    tailRecords: readers,
    getCheckpoint: readers,
    getInclusionProof: readers,
    getConsistencyProof: readers,
    exportRecords: ["role:operator"],
  }),
];
