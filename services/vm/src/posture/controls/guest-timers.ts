import { setTimeout as delay } from "node:timers/promises";
import {
  type Control,
  type Finding,
  failed,
  type HostView,
  isEmulated,
  judged,
  notApplicable,
  pass,
  readInteger,
  unknown,
  worst,
} from "../control.ts";
import type { HostFiles, Reading } from "../host-files.ts";

/**
 * KVM makes a kernel thread for a VM's interval timer outside the jailer's reach. Left in the root cgroup it lets a guest take host CPU
 * time that no quota counts. The launcher moves it; this looks at what is there.
 */
export const timerThreadsPlaced: Control = {
  id: "HOST-03",
  required: true,
  requirement: "every kvm-pit/<pid> kernel thread is in the cgroup of its VM",
  remedy: "end the VMM that the row names; the launcher kills a VM whose thread it cannot place",
  check: judgeTimerThreads,
};

const maxNamed = 5;
const askAgainMs = 100;

async function judgeTimerThreads(host: HostView): Promise<Finding> {
  const { files, vmm, placementLimitMs } = host;
  // Pid 2 is kthreadd wherever kernel threads can be seen; else finding none would mean nothing.
  const daemon = await files.text("/proc/2/comm");
  if (!daemon.ok || daemon.value !== "kthreadd") return unknown("kernel threads cannot be seen in /proc");
  const names = await files.names("/proc");
  if (!names.ok) return unknown(names.why);
  let threads = await findingsOf(
    files,
    names.value.filter((name) => /^\d+$/.test(name)),
  );
  const isOutside = ({ finding }: ThreadFinding) => finding.verdict !== "pass";
  // A VM that just started has its thread placed within 2 s, and one that just ended takes it along.
  const deadline = performance.now() + placementLimitMs;
  while (threads.some(isOutside) && performance.now() < deadline) {
    await delay(askAgainMs);
    threads = await findingsOf(
      files,
      threads.map(({ tid }) => tid),
    );
  }
  const outside = threads.filter(isOutside).map(({ finding }) => finding);
  if (outside.length > 0) return worst(outside.slice(0, maxNamed));
  if (threads.length > 0) return pass(`${threads.length} kvm-pit threads, each in its VM's cgroup`);
  return pass(vmm?.accelerator === "tcg" ? "no kvm-pit thread; guests are emulated" : "no kvm-pit thread");
}

interface ThreadFinding {
  readonly tid: string;
  readonly finding: Finding;
}

/** Findings about those of `tids` that are timer threads. */
async function findingsOf(files: HostFiles, tids: readonly string[]): Promise<readonly ThreadFinding[]> {
  const findings: ThreadFinding[] = [];
  for (const tid of tids) {
    const comm = await files.text(`/proc/${tid}/comm`);
    const pid = comm.ok ? /^kvm-pit\/(\d+)$/.exec(comm.value)?.[1] : undefined;
    if (pid === undefined) continue;
    const thread = cpuCgroupOf(await files.text(`/proc/${tid}/cgroup`));
    const process = cpuCgroupOf(await files.text(`/proc/${pid}/cgroup`));
    findings.push({ tid, finding: judgeThread(pid, thread, process) });
  }
  return findings;
}

function judgeThread(pid: string, thread: Reading<string>, process: Reading<string>): Finding {
  if (!thread.ok) return unknown(`kvm-pit/${pid}: ${thread.why}`);
  if (!process.ok) return unknown(`kvm-pit/${pid}: ${process.why}`);
  if (thread.value === process.value && /\/lobsterd-[a-z]+\/[0-9a-f]{32}$/.test(thread.value)) return pass("placed");
  return failed(`kvm-pit/${pid} is in ${thread.value}, its VMM in ${process.value}`);
}

/** The cgroup that CPU time is counted in: the unified one, or version 1's `cpu`. */
function cpuCgroupOf(reading: Reading<string>): Reading<string> {
  if (!reading.ok) return reading;
  const entries = reading.value.split("\n").map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const version1 = entries.find((entry) => entry?.[1]?.split(",").includes("cpu"));
  const path = version1?.[2] ?? entries.find((entry) => entry?.[1] === "")?.[2];
  return path === undefined ? { ok: false, cause: "unfit", why: "no cgroup counts its CPU time" } : found(path);
}

const found = (value: string): Reading<string> => ({ ok: true, value });

const timerPath = "/sys/module/kvm/parameters/min_timer_period_us";

/**
 * The parameter is a floor on the period: KVM raises what is shorter, so it has to be raised for guests to interrupt the host less often
 * (the kernel's 200 us allow 5,000 a second). Above 1000 us a guest that ticks at 1000 Hz by a periodic APIC timer loses time; that
 * is no danger to the host, so it passes with a note.
 */
export const timersSlowed: Control = {
  id: "HOST-04",
  required: true,
  requirement: "kvm's min_timer_period_us is at least 500 (and at most 1000 for guests that tick at 1000 Hz)",
  remedy: "options kvm min_timer_period_us=500 (deploy/host/modprobe.d); writable by root at run time",
  check: async (host) => {
    const period = await readInteger(host.files, timerPath);
    if (isEmulated(host)) {
      const value = period.ok ? `${period.value} us` : period.why;
      return notApplicable(`${value}; guests are emulated and have no KVM timers`);
    }
    return judged(period, judgeTimerPeriod);
  },
};

function judgeTimerPeriod(periodUs: number): Finding {
  const measured = `${periodUs} us`;
  if (periodUs < 500) return failed(`${measured}: guests may interrupt ${Math.floor(1e6 / periodUs)} times a second`);
  return periodUs > 1000 ? pass(`${measured}: guests that tick at 1000 Hz lose time`) : pass(measured);
}
