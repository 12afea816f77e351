import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** Makes every failure this service answers with. Messages name tenants, secrets and reasons, never a value. */
export const fail = defineErrors("secrets.lobsterd", {
  ADDRESS_NOT_A_GUEST: Code.InvalidArgument,
  CLIENT_AUTHORITY_MISSING: Code.FailedPrecondition,
  CLIENT_CERTIFICATE_LIMIT: Code.ResourceExhausted,
  CLIENT_CERTIFICATE_NOT_FOUND: Code.NotFound,
  CLIENT_NAME_REVOKED: Code.FailedPrecondition,
  CLIENT_NAME_TAKEN: Code.AlreadyExists,
  CSR_REFUSED: Code.InvalidArgument,
  GUEST_KEY_REFUSED: Code.InvalidArgument,
  GUEST_IDENTITY_REFUSED: Code.FailedPrecondition,
  GUEST_REFUSED: Code.FailedPrecondition,
  // Not UNAVAILABLE, which clients repeat by themselves: the guest was tried until the time was over.
  GUEST_UNREACHABLE: Code.Aborted,
  IDENTITY_MISSING: Code.FailedPrecondition,
  LEASE_BUSY: Code.Aborted,
  LEASE_EXPIRED: Code.FailedPrecondition,
  LEASE_MISSING: Code.FailedPrecondition,
  LEASE_USED: Code.FailedPrecondition,
  NEXT_ROOT_KEY_MISSING: Code.FailedPrecondition,
  RESERVED_NAME: Code.InvalidArgument,
  ROOT_KEY_UNAVAILABLE: Code.Unavailable,
  SEAL_BROKEN: Code.DataLoss,
  SECRET_LIMIT: Code.ResourceExhausted,
  SECRET_NOT_FOUND: Code.NotFound,
  SECRET_SIZE_LIMIT: Code.ResourceExhausted,
  STALE_GENERATION: Code.FailedPrecondition,
  TARGET_RESERVED: Code.InvalidArgument,
  TARGET_TAKEN: Code.FailedPrecondition,
  TENANT_KEY_DESTROYED: Code.FailedPrecondition,
  // For owners alone: others may put secrets for a tenant to come.
  TENANT_NOT_FOUND: Code.NotFound,
  TENANT_SHREDDED: Code.Aborted,
  VALUE_NOT_TEXT: Code.InvalidArgument,
  VM_OF_ANOTHER_TENANT: Code.FailedPrecondition,
});
