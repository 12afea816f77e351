import { agentHandlers } from "./agent-service.ts";
import {
  checkMachine,
  guestAgeMs,
  prepareWorkload,
  readIdentity,
  readWorkloadManifest,
  writeResolvers,
} from "./boot.ts";
import { GuestClock, machineClock } from "./clock.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { mixEntropy } from "./entropy.ts";
import { createFront } from "./front.ts";
import { FrontGate } from "./front-gate.ts";
import { createGrpcServer } from "./grpc-server.ts";
import { Holds } from "./holds.ts";
import { IdentityRenewal } from "./identity-renewal.ts";
import { InjectedSecrets } from "./injected-secrets.ts";
import { JobsFile } from "./jobs-file.ts";
import { log } from "./log.ts";
import { resetMachine } from "./power.ts";
import { SecretFiles } from "./secret-files.ts";
import { Sleep } from "./sleep.ts";
import { StandbyCalls } from "./standby-calls.ts";
import { parseTraceparent, Tracer } from "./tracer.ts";
import { Traffic } from "./traffic.ts";
import { Workload } from "./workload.ts";
import { WorkloadConfiguration } from "./workload-configuration.ts";
import { runHook } from "./workload-hook.ts";
import { serveWorkload } from "./workload-socket.ts";

const address = "10.77.0.2";
const agentPort = 7443;
const frontPort = 9000;
const workloadSocketPath = "/run/workload/agent.sock";
/** Certificates begin five minutes before they are issued. */
const bootToleranceMs = 60_000;
const workloadGraceMs = 5_000;
const drainMs = 2_000;
const standbyAfterMs = 2_000;

async function main(): Promise<void> {
  const tracer = new Tracer();
  checkMachine();
  const identity = readIdentity();
  const calls = new StandbyCalls();
  const clock = new GuestClock(machineClock((ms) => calls.setClock(ms)));
  // The drive was made just before the guest began. A machine without a clock of its own would refuse every certificate; one that is
  // near is left to SetClock, since setting costs time that the boot has not.
  await clock.setTo(identity.hostTimeMs, { ageMs: guestAgeMs(), withinMs: bootToleranceMs });
  const startMs = Date.now() - guestAgeMs();
  const current = new CurrentIdentity(identity);
  const parent = parseTraceparent(identity.traceparent);
  const boot = tracer.start("guest.boot", parent, startMs);
  const manifest = readWorkloadManifest();
  writeResolvers(identity);
  prepareWorkload(identity, manifest);
  const workload = new Workload(manifest, tracer);
  const secrets = new InjectedSecrets(
    new SecretFiles("/run/secrets", manifest.user),
    new WorkloadConfiguration(manifest.configurationPath, manifest.user),
    workload,
  );
  const quiesce = async (): Promise<void> => {
    await workload.stop(workloadGraceMs);
    await calls.sync();
  };
  // The handler's answer is written after it returns, so the drain begins one turn of the loop later.
  const powerOff = () => setImmediate(() => void grpc.drain(drainMs).finally(resetMachine));
  if (!identity.expectInjection) workload.start(parent);
  const traffic = new Traffic();
  const holds = new Holds();
  serveWorkload(workloadSocketPath, manifest.user, holds);
  const gate = new FrontGate(createFront({ current, workloadPort: manifest.port, traffic }), frontPort, address);
  const sleep = new Sleep({
    ...{ current, gate, secrets, syncFileSystems: () => calls.sync() },
    suspendWorkload: () => runHook(manifest.suspendCommand, manifest),
    resumeWorkload: () => runHook(manifest.resumeCommand, manifest),
  });
  const grpc = createGrpcServer(
    current,
    agentHandlers({
      ...{ current, renewal: new IdentityRenewal(current), clock, mixEntropy },
      ...{ workload, account: manifest, secrets, sleep, tracer, quiesce, powerOff },
      activity: { traffic, holds, jobs: new JobsFile(manifest.jobsPath) },
    }),
  );
  // Until there is an answer to give, the port is closed: a handshake under emulation takes time that the workload needs to start.
  void workload.firstHealthy().then(() => gate.ready());
  // Not in the way of the first answers; a suspend that comes earlier starts it.
  void workload.firstHealthy().then(() => setTimeout(() => calls.start(), standbyAfterMs));
  grpc.server.listen(agentPort, address, () => {
    boot?.end();
    log("agent is ready", { vmId: identity.vmId, generation: identity.generation });
  });
}

// Whatever goes wrong here, nothing is served: the process ends, PID 1 with it, and the host's boot watchdog sees the machine go.
function end(error: unknown): never {
  log("agent failed", { error: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}

process.on("uncaughtException", end);
process.on("unhandledRejection", end);
main().catch(end);
