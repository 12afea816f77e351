import { formatKernelArguments, type KernelArguments } from "../kernel-arguments.ts";

/** How QEMU executes guest code. What only emulation needs is not there under KVM. */
export interface Execution {
  readonly accelerator: "kvm" | "tcg";
  /** Of emulation: code cache in MiB, and the host's TSC frequency. */
  readonly translationCacheMib: number;
  readonly tscKhz: number;
}

/**
 * The machine and its processor. PIT and PIC are off for both. Under TCG a calibration of the TSC against the PIT hangs on a loaded host;
 * under KVM a PIT would be a kernel thread (`kvm-pit/<pid>`) outside the VM's cgroup, and the guest has kvm-clock and the TSC's
 * frequency from CPUID. A guest gets the host's processor without its virtualisation: no guests in guests.
 */
export function executionArguments({ accelerator, translationCacheMib }: Execution): string[] {
  const machine = ["-M", "microvm,rtc=on,pit=off,pic=off,isa-serial=off"];
  return accelerator === "kvm"
    ? [...machine, "-accel", "kvm", "-cpu", "host,-vmx,-svm"]
    : [...machine, "-accel", `tcg,thread=multi,tb-size=${translationCacheMib}`, "-cpu", "max"];
}

/** The guest kernel's arguments. Under TCG the guest's TSC is the host's, and its frequency is told. Throws RangeError for a frequency that no host has. */
export function kernelArguments({ accelerator, tscKhz }: Execution): string {
  const common: KernelArguments = { panic: -1, quiet: true, "8250.nr_uarts": 0 };
  const clock: KernelArguments = accelerator === "kvm" ? {} : { tsc_early_khz: tscKhz, tsc: "reliable" };
  return formatKernelArguments({ ...common, ...clock });
}
