/** How a test makes a host in memory fail, and the points at which the doubles of its parts ask whether they are to. */
import { type ServiceError, toConnectError } from "@lobsterd/chassis/errors.ts";

/** What can be made to fail: the name of an RPC or of a wait. */
export type Failure =
  | "attachNetwork"
  | "detachNetwork"
  | "updateNetworkEgress"
  | "updateNetworkLimits"
  | "publishRoute"
  | "sleepRoute"
  | "withdrawRoute"
  | "issueGuestIdentity"
  | "injectSecrets"
  | "shredTenant"
  | "renewGuestIdentity"
  | "renewIdentity"
  | "createDataKey"
  | "unwrapDataKey"
  | "getLatestOwnRecord"
  | "prepareSuspend"
  | "quiesceDisk"
  | "releaseDisk"
  | "pause"
  | "unpause"
  | "readDisk"
  | "writeDisk"
  | "replaceDisk"
  | "takeGeneration"
  | "completeResume"
  | "save"
  | "stop"
  | "load"
  | "resume"
  | "awaitAgent"
  | "awaitWorkload"
  | "workloadState"
  | "getNetworkUsage"
  | "activity"
  | "restartWorkload"
  | "getNetwork"
  | "listMicroVms"
  | "streamLogs"
  | "exec";

/** What a test asks for. */
export interface AskedFailures {
  /** Fails these from now on. */
  readonly failing: Set<Failure>;
  /** Refuses these from now on, before any effect. */
  readonly refusing: Map<Failure, ServiceError>;
  /** Waits for these, before any effect. */
  readonly holding: Map<Failure, Promise<void>>;
  /** VM ids whose network and route cannot be taken away. */
  readonly stubborn: Set<string>;
}

export function failAsAsked({ failing, refusing, stubborn }: AskedFailures) {
  return {
    attempt: (what: Failure) => {
      if (failing.has(what)) throw new Error(`told to fail: ${what}`);
    },
    admit: (what: Failure) => {
      const refusal = refusing.get(what);
      if (refusal !== undefined) throw toConnectError(refusal);
    },
    requireWilling: (vmId: string) => {
      if (stubborn.has(vmId)) throw new Error(`told to fail for ${vmId}`);
    },
  };
}
