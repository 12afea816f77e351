import { Code, ConnectError } from "@connectrpc/connect";
import { codeName, reasonOf } from "@lobsterd/chassis/errors.ts";
import { UsageError } from "./command.ts";
import { jsonText, printable } from "./printable.ts";

/** Exit statuses. They are part of the interface: scripts decide by them. */
export const exitStatus = {
  ok: 0,
  /** Anything that has no status of its own, and a check whose answer is no. */
  failed: 1,
  /** What was typed, or what the server says of a value in it. */
  usage: 2,
  notFound: 3,
  /** The service is away, or did not answer in time: worth repeating. */
  unavailable: 4,
  /** This certificate may not. */
  refused: 5,
  /** It exists already, another operation has it, or its state does not allow it. */
  conflict: 6,
  /** No room, or a limit. */
  exhausted: 7,
  /** The server does not serve this call. */
  unimplemented: 8,
  /** `exec` itself failed: other statuses are those of the command that it ran. */
  execFailed: 125,
  /** By SIGINT. */
  interrupted: 130,
} as const;

const byCode: Readonly<Partial<Record<Code, number>>> = {
  [Code.InvalidArgument]: exitStatus.usage,
  [Code.OutOfRange]: exitStatus.usage,
  [Code.NotFound]: exitStatus.notFound,
  [Code.Unavailable]: exitStatus.unavailable,
  [Code.DeadlineExceeded]: exitStatus.unavailable,
  [Code.PermissionDenied]: exitStatus.refused,
  [Code.Unauthenticated]: exitStatus.refused,
  [Code.AlreadyExists]: exitStatus.conflict,
  [Code.Aborted]: exitStatus.conflict,
  [Code.FailedPrecondition]: exitStatus.conflict,
  [Code.ResourceExhausted]: exitStatus.exhausted,
  [Code.Unimplemented]: exitStatus.unimplemented,
};

/** A failure as it is shown. `reason` is the server's stable one, or `USAGE`, `INTERRUPTED` or the name of a code. */
export interface Failure {
  readonly reason: string;
  readonly message: string;
  readonly exitStatus: number;
}

/** What to show of something thrown. */
export function describeFailure(error: unknown, isInterrupted: boolean): Failure {
  if (isInterrupted) return { reason: "INTERRUPTED", message: "interrupted", exitStatus: exitStatus.interrupted };
  if (error instanceof UsageError) return { reason: "USAGE", message: error.message, exitStatus: exitStatus.usage };
  if (error instanceof ConnectError) {
    return {
      reason: reasonOf(error) ?? codeName(error.code),
      message: error.rawMessage,
      exitStatus: byCode[error.code] ?? exitStatus.failed,
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { reason: "FAILED", message, exitStatus: exitStatus.failed };
}

/** The line for a person, or the object for a program. */
export function failureText(failure: Failure, wantsJson: boolean): string {
  if (wantsJson) return `${jsonText({ error: failure }, 0)}\n`;
  return `lobster: ${printable(failure.message)} (${printable(failure.reason)})\n`;
}
