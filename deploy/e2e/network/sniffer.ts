import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

/** Frames alike that a link of a namespace carried. */
export interface Sighting {
  readonly link: string;
  /** `in`: received by the namespace, before any rule. `out`: sent by it, behind every rule. */
  readonly direction: "in" | "out";
  readonly kind: "arp" | "ipv4" | "other";
  /** IPv4: the protocol's number. ARP: 1 request, 2 reply. Otherwise the EtherType. */
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** 0 for what has no ports, and for a fragment that is not the first. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly count: number;
}

export interface Sniffer {
  /** What passed since the last call. Throws if the kernel could not hand over every frame. */
  take(): Promise<readonly Sighting[]>;
  stop(): Promise<void>;
}

// Sees what the links carry whatever the rules say: packet sockets sit outside of every hook of nftables. Loopback is left out.
const program = `
use constant { PACKET => 17, SOL_PACKET => 263, STATISTICS => 6, BUFFER_FORCE => 33 };
socket(my $s, PACKET, 3, unpack("S", pack("n", 3))) or die "socket: $!";
setsockopt($s, 1, BUFFER_FORCE, pack("i", 1 << 26)) or die "buffer: $!";
my (%names, %seen);
sub name {
  my $request = pack("a16 i x20", "", $_[0]);
  return ioctl($s, 0x8910, $request) ? unpack("Z16", $request) : "gone";
}
sub quad { join ".", unpack("C4", $_[0]) }
sub note {
  my ($frame, $from) = @_;
  my ($index, $type) = unpack("x4 i x2 C", $from);
  my $link = $names{$index} //= name($index);
  return if $link eq "lo";
  my $kind = unpack("x12 n", $frame);
  my @facts;
  if ($kind == 0x0800 && length $frame >= 34) {
    my $head = 14 + 4 * (unpack("x14 C", $frame) & 15);
    my ($fragment, $protocol) = unpack("x20 n x C", $frame);
    my $ports = ($protocol == 6 || $protocol == 17) && !($fragment & 0x1fff) && length $frame >= $head + 4;
    my ($near, $far) = $ports ? unpack("x$head n n", $frame) : (0, 0);
    @facts = ("ipv4", $protocol, quad(substr $frame, 26, 4), quad(substr $frame, 30, 4), $near, $far);
  } elsif ($kind == 0x0806 && length $frame >= 42) {
    @facts = ("arp", unpack("x20 n", $frame), quad(substr $frame, 28, 4), quad(substr $frame, 38, 4), 0, 0);
  } else {
    @facts = ("other", $kind, "", "", 0, 0);
  }
  $seen{join "\\t", $link, ($type == 4 ? "out" : "in"), @facts}++;
}
$| = 1;
print "ready\\n";
my $wanted = "";
vec($wanted, fileno($s), 1) = 1;
vec($wanted, fileno(STDIN), 1) = 1;
while (1) {
  select(my $ready = $wanted, undef, undef, undef);
  while (defined(my $from = recv($s, my $frame, 65536, 0x40))) { note($frame, $from); }
  next unless vec($ready, fileno(STDIN), 1);
  sysread(STDIN, my $order, 1) or exit;
  print "$seen{$_}\\t$_\\n" for keys %seen;
  %seen = ();
  # A slot that is made anew may give an index to another link.
  %names = ();
  my $statistics = getsockopt($s, SOL_PACKET, STATISTICS);
  print "lost ", unpack("x4 L", $statistics), "\\n";
}
`;

/** Watches every link of the network namespace at `path`. */
export async function startSniffer(path: string): Promise<Sniffer> {
  const child = spawn("nsenter", [`--net=${path}`, "--", "perl", "-e", program], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ready = await lines.next();
  if (ready.value !== "ready") throw new Error(`no sniffer in ${path}`);
  return { take: () => take(child, lines), stop: () => stop(child) };
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

async function take(child: Child, lines: AsyncIterator<string>): Promise<Sighting[]> {
  child.stdin.write("t");
  const sightings: Sighting[] = [];
  for (;;) {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the sniffer ended");
    const lost = /^lost (\d+)$/.exec(value)?.[1];
    if (lost === undefined) sightings.push(parse(value));
    else if (lost === "0") return sightings;
    else throw new Error(`${lost} frames passed unseen`);
  }
}

function parse(line: string): Sighting {
  const [count, link = "", direction, kind, protocol, source = "", destination = "", near, far] = line.split("\t");
  return {
    link,
    direction: direction === "out" ? "out" : "in",
    kind: kind === "arp" || kind === "ipv4" ? kind : "other",
    protocol: Number(protocol),
    source,
    destination,
    sourcePort: Number(near),
    destinationPort: Number(far),
    count: Number(count),
  };
}

async function stop(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
