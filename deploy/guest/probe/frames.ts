import { spawn } from "node:child_process";

const maximumFrames = 20_000;
const maximumListenMs = 10_000;

export interface FrameExchange {
  readonly link: string;
  /** Whole Ethernet frames in base64, sent in order. */
  readonly frames: readonly string[];
  /** How often the whole list is sent. Default: once. */
  readonly repeat?: number;
  /** After the last frame, collects what arrives with this EtherType for so long. */
  readonly listen?: { readonly etherType: number; readonly forMs: number };
}

export interface FrameAnswer {
  readonly sent: number;
  /** In base64; at most 1,000. */
  readonly received: readonly string[];
}

// Node cannot open a packet socket. One process takes every frame: starting perl costs more than ten thousand sends.
const program = `
my ($name, $type, $ms) = @ARGV;
socket(my $s, 17, 3, $type == 0 ? 0 : unpack("S", pack("n", $type))) or die "socket: $!";
my $request = pack("a16 x24", $name);
ioctl($s, 0x8933, $request) or die "no link $name: $!";
my $index = unpack("x16 i", $request);
my $address = pack("S n i S C C a8", 17, 0, $index, 0, 0, 6, "");
my ($sent, $received) = (0, 0);
while (<STDIN>) {
  chomp;
  # A queue that is full for a moment is no reason to stop.
  until (send($s, pack("H*", $_), 0, $address)) { die "send: $!" if $! != 105; select(undef, undef, undef, 0.002); }
  $sent++;
}
print "$sent\n";
my $ready = "";
vec($ready, fileno($s), 1) = 1;
for (my $left = $ms / 1000; $left > 0 && $received < 1000;) {
  (my $found, $left) = select(my $r = $ready, undef, undef, $left);
  last if $found == 0;
  my $from = recv($s, my $frame, 65536, 0);
  next if unpack("x10 C", $from) == 4;
  print unpack("H*", $frame), "\n";
  $received++;
}
`;

/** Sends raw frames out of a link of the guest, past its own network stack, and tells what came back. */
export async function exchangeFrames({ link, frames, repeat = 1, listen }: FrameExchange): Promise<FrameAnswer> {
  if (frames.length * repeat > maximumFrames) throw new Error(`more than ${maximumFrames} frames`);
  if ((listen?.forMs ?? 0) > maximumListenMs) throw new Error(`listens longer than ${maximumListenMs} ms`);
  const child = spawn("perl", ["-e", program, link, `${listen?.etherType ?? 0}`, `${listen?.forMs ?? 0}`]);
  let output = "";
  let errors = "";
  child.stdout.setEncoding("latin1").on("data", (chunk: string) => {
    output += chunk;
  });
  child.stderr.setEncoding("latin1").on("data", (chunk: string) => {
    errors += chunk;
  });
  const ended = new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
  const lines = frames.map((frame) => `${Buffer.from(frame, "base64").toString("hex")}\n`).join("");
  // A sender that failed is judged by its status.
  child.stdin.on("error", () => undefined).end(lines.repeat(repeat));
  const status = await ended;
  if (status !== 0) throw new Error(`perl ended with ${status}: ${errors.slice(0, 500)}`);
  const [sent, ...received] = output.trimEnd().split("\n");
  return { sent: Number(sent), received: received.map((line) => Buffer.from(line, "hex").toString("base64")) };
}
