/** The VMM in memory as a host has it: it can be told to fail, and a boot ends what is known of the workload before. */
import type { FakeVmm } from "../vmm/fake.ts";
import { type VmmPort, vmmFail } from "../vmm/port.ts";
import { type AskedFailures, type Failure, failAsAsked } from "./fake-failures.ts";
import type { FakeGuests } from "./fake-guests.ts";

/** All but `list` fail after their effect. */
export function failingVmm(vmm: FakeVmm, state: Pick<FakeGuests, "workloads"> & AskedFailures): VmmPort {
  const { attempt } = failAsAsked(state);
  const after =
    <Arguments extends readonly unknown[], Result>(
      what: Failure,
      call: (...given: Arguments) => Promise<Result>,
    ): ((...given: Arguments) => Promise<Result>) =>
    async (...given) => {
      const result = await call(...given);
      attempt(what);
      return result;
    };
  return {
    ...vmm,
    save: after("save", vmm.save),
    pause: after("pause", vmm.pause),
    unpause: after("unpause", vmm.unpause),
    readDisk: after("readDisk", vmm.readDisk),
    writeDisk: after("writeDisk", vmm.writeDisk),
    replaceDisk: after("replaceDisk", vmm.replaceDisk),
    stop: after("stop", vmm.stop),
    load: after("load", vmm.load),
    resume: after("resume", vmm.resume),
    start: async (order) => {
      state.workloads.delete(order.vmId);
      return await vmm.start(order);
    },
    list: async () => {
      if (state.failing.has("listMicroVms")) throw vmmFail("UNAVAILABLE", "told to fail");
      return await vmm.list();
    },
  };
}
