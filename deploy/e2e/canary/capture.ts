import { spawn } from "node:child_process";
import { once } from "node:events";

const maxCaptureBytes = 512 * 1024 * 1024;

/** Every frame that the links of one network namespace carry, loopback among them. */
export interface Capture {
  readonly path: string;
  /** Ends the capture and returns its frames, one after the other with a separator. Throws if the kernel lost one. */
  stop(): Promise<Buffer>;
}

// Frames that are sent over loopback are seen twice, which does no harm. A byte from outside ends it.
const program = `
use constant { PACKET => 17, SOL_PACKET => 263, STATISTICS => 6, BUFFER_FORCE => 33 };
socket(my $s, PACKET, 3, unpack("S", pack("n", 3))) or die "socket: $!";
setsockopt($s, 1, BUFFER_FORCE, pack("i", 1 << 27)) or die "buffer: $!";
binmode STDOUT;
print STDERR "ready\\n";
my $wanted = "";
vec($wanted, fileno($s), 1) = 1;
vec($wanted, fileno(STDIN), 1) = 1;
while (1) {
  select(my $ready = $wanted, undef, undef, undef);
  while (defined(recv($s, my $frame, 65536, 0x40))) { print $frame, "\\n\\n"; }
  last if vec($ready, fileno(STDIN), 1);
}
print STDERR "lost ", unpack("x4 L", getsockopt($s, SOL_PACKET, STATISTICS)), "\\n";
`;

/** Begins to capture in the network namespace at `path`. */
export async function startCapture(path: string): Promise<Capture> {
  const child = spawn("nsenter", [`--net=${path}`, "--", "perl", "-e", program], { stdio: ["pipe", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  let size = 0;
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > maxCaptureBytes) child.kill("SIGKILL");
    else chunks.push(chunk);
  });
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
    if (said.includes("ready")) resolve();
  });
  child.once("exit", () => reject(new Error(`the capture in ${path} ended: ${said}`)));
  await ready;
  return {
    path,
    async stop() {
      const closed = once(child, "close");
      child.stdin.end("x");
      await closed;
      if (!/^lost 0$/m.test(said)) throw new Error(`the capture in ${path} is not whole: ${said}`);
      return Buffer.concat(chunks);
    },
  };
}
