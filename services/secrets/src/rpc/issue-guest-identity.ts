import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type IssueGuestIdentityRequest,
  IssueGuestIdentityRequestSchema,
  type IssueGuestIdentityResponse,
  IssueGuestIdentityResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import { claimRequestId } from "./request-claim.ts";

/** A repeat gets a fresh key for the same name: the first key was never stored, so it cannot be given twice. */
export function issueGuestIdentity({ config, requests, issueIdentity, agentTokenDigest, events }: SecretsContext) {
  return async (request: IssueGuestIdentityRequest): Promise<IssueGuestIdentityResponse> => {
    await claimRequestId(requests, request.requestId, IssueGuestIdentityRequestSchema, request);
    const { tenant, vmId, generation, owner } = request;
    const guest = { tenant, vmId, generation };
    const { certificatePem, privateKeyPem, serial, expireTimeMs } = await issueIdentity(guest, owner);
    using key = privateKeyPem;
    events.identityIssued(guest, serial, expireTimeMs);
    return create(IssueGuestIdentityResponseSchema, {
      certificatePem,
      privateKeyPem: { value: key.use((bytes) => Uint8Array.from(bytes)) },
      platformCaPem: readFileSync(config.tls.platformCaPath, "utf8"),
      expireTime: timestampFromMs(expireTimeMs),
      agentTokenDigest: agentTokenDigest(guest),
    });
  };
}
