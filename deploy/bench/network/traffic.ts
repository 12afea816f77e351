import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * Senders and receivers in perl, since its calls block: what is measured is the kernel's path, and not an event loop's. All of
 * them run on one core, so that none waits for another one to wake up.
 */
const core = "0";

const clockGettime = process.arch === "arm64" ? 113 : 228;

const prelude = `
use strict; use warnings; use Socket; $| = 1;
sub now { my $ts = pack("qq", 0, 0); syscall(${clockGettime}, 1, $ts); my ($s, $n) = unpack("qq", $ts); $s * 1e3 + $n / 1e6 }
sub udp { socket(my $s, PF_INET, SOCK_DGRAM, 0) or die "socket: $!"; $s }
my ($host, $port, @rest) = @ARGV;
`;

const programs = {
  /** Answers every datagram. */
  echo: `
    my $s = udp(); bind($s, sockaddr_in($port, INADDR_ANY)) or die "bind: $!"; print "ready\\n";
    while (defined(my $from = recv($s, my $data, 2048, 0))) { send($s, $data, 0, $from) }`,
  /** Takes datagrams and does not even read them, so that whoever sends is all that runs. */
  deaf: `
    my $s = udp(); bind($s, sockaddr_in($port, INADDR_ANY)) or die "bind: $!"; print "ready\\n"; sleep(600)`,
  /** Round trips of 64 bytes, one after the other; prints microseconds of each. */
  ping: `
    my ($count) = @rest; my $s = udp(); connect($s, sockaddr_in($port, inet_aton($host))) or die "connect: $!";
    setsockopt($s, SOL_SOCKET, SO_RCVTIMEO, pack("qq", 1, 0)); my $payload = "x" x 64; my @took;
    for my $at (1 .. $count) { my $start = now(); send($s, $payload, 0); defined(recv($s, my $data, 2048, 0)) or next;
      push @took, (now() - $start) * 1000 if $at > 100 }
    print join(" ", map { sprintf "%.2f", $_ } @took), "\\n"`,
  /** Datagrams of 64 bytes as fast as the kernel takes them; prints for how many milliseconds. */
  blast: `
    my ($ms) = @rest; my $s = udp(); connect($s, sockaddr_in($port, inet_aton($host))) or die "connect: $!";
    my $payload = "x" x 64; my ($start, $now) = (now(), 0);
    do { send($s, $payload, 0) for 1 .. 50; $now = now() } while ($now - $start < $ms);
    print $now - $start, "\\n"`,
  /** Receives streams, one after the other; prints bytes and milliseconds from the first to the last of them. */
  drain: `
    socket(my $l, PF_INET, SOCK_STREAM, 0) or die; setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($l, sockaddr_in($port, INADDR_ANY)) or die "bind: $!"; listen($l, 8); print "ready\\n";
    while (accept(my $s, $l)) { my ($bytes, $first, $last) = (0, 0, 0);
      while (my $got = sysread($s, my $data, 262144)) { $last = now(); $first ||= $last; $bytes += $got }
      print "$bytes ", $last - $first, "\\n"; close($s) }`,
  /** Sends a stream for so many milliseconds. */
  pour: `
    my ($ms) = @rest; socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
    connect($s, sockaddr_in($port, inet_aton($host))) or die "connect: $!";
    my $data = "x" x 131072; my $end = now() + $ms; while (now() < $end) { syswrite($s, $data) or die "write: $!" } close($s);
    print "done\\n"`,
  /** Sends the time, every tenth of a millisecond, until it is ended. */
  tick: `
    my $s = udp(); connect($s, sockaddr_in($port, inet_aton($host))) or die "connect: $!"; print "ready\\n";
    my $next = now(); while (1) { my $now = now(); next if $now < $next; $next = $now + 0.1; send($s, pack("d", $now), 0) }`,
  /** Takes times; prints the last one after half a second of silence. */
  last: `
    my $s = udp(); bind($s, sockaddr_in($port, INADDR_ANY)) or die "bind: $!"; print "ready\\n"; my $last = 0;
    recv($s, my $first, 64, 0); print "first\\n"; setsockopt($s, SOL_SOCKET, SO_RCVTIMEO, pack("qq", 0, 500000));
    while (defined(recv($s, my $data, 64, 0))) { $last = unpack("d", $data) } printf "%.6f\\n", $last`,
} as const;

/** A program that runs in a namespace and says things line by line. */
export interface Speaker {
  /** The next line; throws if it ends first. */
  line(): Promise<string>;
  stop(): Promise<void>;
}

/** `path`: file of the network namespace. */
export function start(program: keyof typeof programs, path: string, ...parameters: (string | number)[]): Speaker {
  const pinned = program === "tick" ? [] : ["taskset", "--cpu-list", core];
  const perl = ["perl", "-e", prelude + programs[program], ...parameters.map(String)];
  const child: ChildProcess = spawn("nsenter", [`--net=${path}`, "--", ...pinned, ...perl], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.stdout === null) throw new Error("no standard output");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    async line() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${program} ended without an answer`);
      return value;
    },
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Runs a program to its first line. */
export async function ask(program: keyof typeof programs, path: string, ...parameters: (string | number)[]) {
  const speaker = start(program, path, ...parameters);
  try {
    return await speaker.line();
  } finally {
    await speaker.stop();
  }
}
