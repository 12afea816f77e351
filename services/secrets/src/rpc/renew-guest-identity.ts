import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type RenewGuestIdentityRequest,
  RenewGuestIdentityRequestSchema,
  type RenewGuestIdentityResponse,
  RenewGuestIdentityResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import { claimRequestId } from "./request-claim.ts";

/** A repeat is certified again: both certificates are for the same key and name, and the later one is on record. */
export function renewGuestIdentity({ config, requests, renewIdentity, agentTokenDigest, events }: SecretsContext) {
  return async (request: RenewGuestIdentityRequest): Promise<RenewGuestIdentityResponse> => {
    await claimRequestId(requests, request.requestId, RenewGuestIdentityRequestSchema, request);
    const { tenant, vmId, generation } = request;
    const guest = { tenant, vmId, generation };
    const { certificatePem, serial, expireTimeMs } = await renewIdentity(guest, request);
    events.identityRenewed(guest, serial, expireTimeMs);
    return create(RenewGuestIdentityResponseSchema, {
      certificatePem,
      platformCaPem: readFileSync(config.tls.platformCaPath, "utf8"),
      expireTime: timestampFromMs(expireTimeMs),
      agentTokenDigest: agentTokenDigest(guest),
    });
  };
}
