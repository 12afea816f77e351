/** What a compromised workload tries in its own guest, each as one command that exits with 0 when it got through. */
export type WorkloadAttack = {
  readonly name: string;
  /** For `sh -c`. `$AGENT` is the agent's process id, which the workload cannot find out. */
  readonly script: string;
  /** Whether root gets through: then the command is one that works, and it is the workload's user that stops it. */
  readonly worksForRoot: boolean;
};

const forRoot = (name: string, script: string): WorkloadAttack => ({ name, script, worksForRoot: true });
/** Closed to root too, or so that root's success would end the guest. */
const forNobody = (name: string, script: string): WorkloadAttack => ({ name, script, worksForRoot: false });

const perl = (program: string) => `perl -e '${program}'`;
/** System calls by their numbers on x86-64, since perl comes without its modules. */
const ptrace = 101;
const attach = 16;

export const workloadAttacks: readonly WorkloadAttack[] = [
  forRoot("read the agent's environment", "cat /proc/$AGENT/environ"),
  forRoot("read the agent's command line", "cat /proc/$AGENT/cmdline"),
  forRoot("read the agent's memory map", "head -c 1 /proc/$AGENT/maps"),
  forRoot("open the agent's memory", "exec 3</proc/$AGENT/mem"),
  forRoot("list what the agent has open", "ls /proc/$AGENT/fd"),
  forRoot("see the agent among the processes", "ls -d /proc/$AGENT"),
  forRoot("see PID 1", "ls -d /proc/1"),
  forRoot("signal the agent", "kill -0 $AGENT"),
  forRoot(
    "trace a process of its own",
    perl(`my $c=fork; if(!$c){sleep 5;exit} my $r=syscall(${ptrace},${attach},$c,0,0); kill 9,$c; exit($r==0?0:1)`),
  ),
  forRoot("make a terminal", "exec 3<>/dev/ptmx"),
  forRoot("make a terminal beside the agent's", "exec 3<>/dev/pts/ptmx"),
  forRoot("list the terminals", "ls /dev/pts"),
  forNobody("trace the agent", `${perl(`exit(syscall(${ptrace},${attach},$ENV{AGENT}+0,0,0)==0?0:1)`)}`),
  forRoot("read the agent's program", "head -c 1 /opt/agent/agent.js"),
  forRoot("list the agent's directory", "ls /opt/agent"),
  forRoot("list where the identity was", "ls /run/lobsterd-agent"),
  forNobody("read the identity", "cat /run/lobsterd-agent/identity.json"),
  forNobody("read the identity's disk", "head -c 1 /dev/vdc"),
  forRoot("read the root disk", "head -c 1 /dev/vda"),
  forRoot("read the overlay's disk", "head -c 1 /dev/vdb"),
  forNobody("write to the root disk", "exec 3>/dev/vda"),
  forNobody("attach a disk to its driver", "echo virtio2 >/sys/bus/virtio/drivers/virtio_blk/bind"),
  forRoot("make a device node", "rm -f /tmp/$$; busybox mknod /tmp/$$ b 254 0"),
  forRoot("read the kernel's log", "busybox dmesg"),
  forNobody("read the kernel's addresses", "busybox grep -qv ^0000000000000000 /proc/kallsyms"),
  forNobody("read physical memory", "head -c 1 /dev/mem"),
  forRoot("read the accounts' passwords", "cat /etc/shadow"),
  forRoot("become root", "busybox su root -c id"),
  forRoot("take root's user id", perl("$< = $> = 0; exit($> == 0 ? 0 : 1)")),
  forRoot("mount a file system", "busybox mount -t tmpfs none /root"),
  forNobody("make a user namespace", "busybox unshare -U true"),
  forRoot("open a raw socket", perl("exit(socket(S, 2, 3, 1) ? 0 : 1)")),
  forRoot("open a packet socket", perl("exit(socket(S, 17, 3, 0x0300) ? 0 : 1)")),
  forRoot("change an address", "busybox ip address add 10.77.0.9/32 dev lo"),
  forNobody("load a module", "busybox insmod /usr/bin/node"),
  forRoot("set the clock", "date --utc --set=now"),
  forRoot("change a kernel setting", "echo 1 >/proc/sys/kernel/dmesg_restrict"),
  forNobody("reset the machine", "[ $(id -u) != 0 ] && echo b >/proc/sysrq-trigger"),
  forRoot("write beside the programs", "touch /usr/bin/planted"),
  forNobody(
    "get a word from the agent",
    perl(
      '$SIG{PIPE}="IGNORE"; socket(S,2,1,0); connect(S,pack("SnC4x8",2,7443,10,77,0,2)) or exit 2; syswrite(S,"\\x16\\x03\\x01\\x00\\x05hello"); exit(sysread(S,$b,1)?0:1)',
    ),
  ),
];
