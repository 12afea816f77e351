#!/usr/bin/perl
# Stands for Firecracker in the launcher's tests: it listens, has threads with and without a filter as Firecracker has, makes a real KVM
# machine with its timer where /dev/kvm opens, and does to its own jail what a taken-over VMM could. It runs no guest.
#
#   PUT /actions      InstanceStart: every thread gets the filter, the KVM machine is made
#   PUT /replace      "<kind> <name> <target>": puts a symlink, hardlink, fifo, device, directory, file or socket in the place of a file
#   PUT /write        "<fifo> <text>": writes to one of its FIFOs
#   PUT /grow         "<name> <bytes>": makes a file that long, as a snapshot's memory is
#   PUT /snapshot/create, /snapshot/load
#                     as Firecracker, with a memory that it makes up, or that it has loaded and keeps open
#   PUT /exit         ends
use strict;
use warnings;
use Fcntl qw(:DEFAULT :mode);
use IO::Socket::UNIX;
use POSIX ();

if (@ARGV && $ARGV[0] eq '--version') { print "Firecracker v1.16.1\n"; exit 0 }
my %option;
for (my $at = 0; $at < @ARGV; $at += 2) { $option{$ARGV[$at]} = $ARGV[$at + 1] }

my $allow = pack('SCCL', 0x06, 0, 0, 0x7fff0000);
my $filter = pack('Sx6Q', 1, unpack('Q', pack('P', $allow)));
sub filter_threads { syscall(157, 38, 1, 0, 0, 0); syscall(317, 1, $_[0] eq 'all' ? 1 : 0, $filter) == 0 or POSIX::_exit(3) }

# A second thread, on this one's stack: this one sleeps until the other ends, and with it the process. As with Firecracker before the
# guest starts, one thread has a filter and the main one has none.
my $child = syscall(56, 0x54f00, 0, 0, 0, 0);
POSIX::_exit(4) if $child != 0;
filter_threads('this');

my $listener = IO::Socket::UNIX->new(Local => $option{'--api-sock'}, Listen => 8) or POSIX::_exit(5);
my (%fifo, $machine, $kvm, $memory, $state);
while (1) {
  my $client = $listener->accept or next;
  while (defined(my $request = read_request($client))) {
    my ($status, $text) = answer(@$request);
    my $length = length $text;
    print $client "HTTP/1.1 $status\r\nContent-Length: $length\r\n\r\n$text";
    $client->flush;
  }
}

sub read_request {
  my ($client) = @_;
  my $head = '';
  while ($head !~ /\r\n\r\n$/) { sysread($client, $head, 1, length $head) or return undef }
  my ($length) = $head =~ /content-length: *(\d+)/i;
  my $body = '';
  while (length $body < ($length // 0)) { sysread($client, $body, $length - length $body, length $body) or return undef }
  return [(split ' ', $head)[0, 1], $body];
}

sub answer {
  my ($method, $path, $body) = @_;
  if ($method eq 'GET') { return ('200 OK', '{"id":"stub","state":"Not started","vmm_version":"1.16.1","app_name":"stub"}') }
  if ($path eq '/actions') { filter_threads('all'); make_machine(); return ('204 No Content', '') }
  if ($path eq '/snapshot/create') { return snapshot($body, \&create) }
  if ($path eq '/snapshot/load') { return snapshot($body, \&load) }
  if ($path eq '/exit') { POSIX::_exit(0) }
  my ($first, $name, $target) = split ' ', $body;
  if ($path eq '/write') {
    sysopen($fifo{$first}, "/$first", O_RDWR | O_NONBLOCK) or return ('400 Bad Request', "$!") unless $fifo{$first};
    return ('200 OK', syswrite($fifo{$first}, "$name\n") // "$!");
  }
  if ($path eq '/grow') {
    local $SIG{XFSZ} = 'IGNORE';
    sysopen(my $file, "/$first", O_RDWR | O_CREAT, 0600) or return ('400 Bad Request', "$!");
    return ('200 OK', truncate($file, $name) ? 'grown' : "$!");
  }
  if ($path eq '/replace') { return ('200 OK', replace($first, "/$name", $target)) }
  return ('400 Bad Request', 'unknown');
}

sub snapshot {
  my ($body, $work) = @_;
  my ($state_path) = $body =~ /"snapshot_path":"([^"]+)"/;
  my ($memory_path) = $body =~ /"(?:mem_file_path|backend_path)":"([^"]+)"/;
  return eval { $work->($state_path, $memory_path); 1 } ? ('204 No Content', '') : ('400 Bad Request', $@);
}

# As Firecracker does it: a memory file of the right length is neither truncated nor made longer.
sub create {
  my ($state_path, $memory_path) = @_;
  sysopen(my $to, $memory_path, O_RDWR | O_CREAT, 0600) or die "memory: $!\n";
  sysseek($memory, 0, 0) if $memory;
  for (my $at = 0; $at < -s $to; $at += 1 << 20) {
    my $piece = pack('N', $at) x (1 << 18);
    sysread($memory, $piece, 1 << 20) if $memory;
    syswrite($to, $piece) == 1 << 20 or die "memory: $!\n";
  }
  sysopen(my $file, $state_path, O_WRONLY | O_CREAT | O_TRUNC, 0600) or die "state: $!\n";
  defined syswrite($file, $state // 'state of the stub') or die "state: $!\n";
}

sub load {
  my ($state_path, $memory_path) = @_;
  sysopen(my $file, $state_path, O_RDONLY) or die "state: $!\n";
  sysread($file, $state, -s $file) or die "state: $!\n";
  sysopen($memory, $memory_path, O_RDONLY) or die "memory: $!\n";
  filter_threads('all');
  make_machine();
}

# "in place" when it is there; otherwise why not.
sub replace {
  my ($kind, $path, $target) = @_;
  if (-d $path && !-l $path) { rmdir $path or return "rmdir: $!" }
  elsif (-e $path || -l $path) { unlink $path or return "unlink: $!" }
  my $made =
      $kind eq 'symlink' ? symlink($target, $path)
    : $kind eq 'hardlink' ? link($target, $path)
    : $kind eq 'fifo' ? POSIX::mkfifo($path, 0600)
    : $kind eq 'device' ? syscall(133, $path, S_IFCHR | 0600, 1 << 8 | 3) == 0
    : $kind eq 'directory' ? mkdir($path, 0700)
    : $kind eq 'file' ? sysopen(my $file, $path, O_WRONLY | O_CREAT | O_EXCL, 0600)
    : $kind eq 'socket' ? IO::Socket::UNIX->new(Local => $path, Listen => 1)
    : undef;
  return $made ? 'in place' : "$kind: $!";
}

sub make_machine {
  sysopen($kvm, '/dev/kvm', O_RDWR) or return;
  $machine = syscall(16, fileno $kvm, 0xae01, 0);
  return if $machine < 0;
  syscall(16, $machine, 0xae60, 0);    # interrupt controllers, without which there is no timer
  my $timer = pack 'x64';
  syscall(16, $machine, 0x4040ae77, $timer);    # KVM_CREATE_PIT2
}
