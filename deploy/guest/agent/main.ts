import { agentHandlers } from "./agent-service.ts";
import { kernelStartMs, prepareWorkload, readIdentity, readWorkloadManifest, writeResolvers } from "./boot.ts";
import { createFront } from "./front.ts";
import { createGrpcServer } from "./grpc-server.ts";
import { InjectedSecrets } from "./injected-secrets.ts";
import { log } from "./log.ts";
import { resetMachine, syncFileSystems } from "./power.ts";
import { SecretFiles } from "./secret-files.ts";
import { parseTraceparent, Tracer } from "./tracer.ts";
import { Workload } from "./workload.ts";
import { WorkloadConfiguration } from "./workload-configuration.ts";

const address = "10.77.0.2";
const agentPort = 7443;
const frontPort = 9000;
const workloadGraceMs = 5_000;
const drainMs = 2_000;

function main(): void {
  const tracer = new Tracer();
  const identity = readIdentity();
  const parent = parseTraceparent(identity.traceparent);
  const boot = tracer.start("guest.boot", parent, kernelStartMs());
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
    await syncFileSystems();
  };
  // The handler's answer is written after it returns, so the drain begins one turn of the loop later.
  const powerOff = () => setImmediate(() => void grpc.drain(drainMs).finally(resetMachine));
  if (!identity.expectInjection) workload.start(parent);
  const front = createFront({ identity, workloadPort: manifest.port });
  const grpc = createGrpcServer(identity, agentHandlers({ identity, workload, secrets, tracer, quiesce, powerOff }));
  // Until there is an answer to give, the port is closed: a handshake under emulation takes time that the workload needs to start.
  void workload.firstHealthy().then(() => front.listen(frontPort, address));
  grpc.server.listen(agentPort, address, () => {
    boot?.end();
    log("agent is ready", { vmId: identity.vmId, generation: identity.generation });
  });
}

// Whatever goes wrong here, nothing is served: the process ends, PID 1 with it, and the host's boot watchdog sees the machine go.
process.on("uncaughtException", (error) => {
  log("agent failed", { error: error.message });
  process.exit(1);
});
main();
