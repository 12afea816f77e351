#!/usr/bin/perl
# Does what Firecracker's jailer does, as far as it can be seen from outside, for machines without that binary. Test code: the launcher's tests
# install it as their jailer. It takes the same arguments and makes the same directories, devices, namespaces and limits, in the same order.
# One difference: a stub VMM is a perl script, which could not be executed in the new root; it is read before and evaluated there.
use strict;
use warnings;
use Fcntl qw(:DEFAULT :mode);
use File::Path qw(make_path);
use IO::Socket::UNIX;
use POSIX ();
use Socket;

my %number = (mount => 165, umount2 => 166, pivot_root => 155, unshare => 272, setns => 308, mknod => 133, setgroups => 116,
  setresuid => 117, setresgid => 119, prctl => 157, setrlimit => 160);
my ($NEWNS, $NEWNET, $NEWPID) = (0x20000, 0x40000000, 0x20000000);

# Perl hands a number over as it is and a string as a pointer, which it wants to be able to write to.
sub call { my ($name, @values) = @_; syscall($number{$name}, @values) == -1 and die "$name: $!\n" }

my (%one, %many, @extra);
my %flag = map { $_ => 1 } qw(daemonize new-pid-ns);
my %valued = map { $_ => 1 } qw(id exec-file uid gid chroot-base-dir cgroup-version parent-cgroup netns);
my %repeated = map { $_ => 1 } qw(cgroup resource-limit);
while (defined(my $word = shift @ARGV)) {
  if ($word eq '--') { @extra = @ARGV; last }
  $word =~ s/^--// or die "unexpected $word\n";
  if ($flag{$word}) { $one{$word} = 1 }
  elsif ($valued{$word}) { $one{$word} = shift @ARGV }
  elsif ($repeated{$word}) { push @{$many{$word}}, shift @ARGV }
  else { die "unknown argument --$word\n" }
}
$one{'cgroup-version'} //= 1;
my ($id, $uid, $gid) = ($one{id}, $one{uid} + 0, $one{gid} + 0);
$id =~ /^[A-Za-z0-9-]{1,64}$/ or die "invalid id\n";
my $name = (split m{/}, $one{'exec-file'})[-1];
my $root = "$one{'chroot-base-dir'}/$name/$id/root";
make_path($root);

open my $source, '<', $one{'exec-file'} or die "exec file: $!\n";
my $program = do { local $/; <$source> };
close $source;
sysopen(my $copy, "$root/$name", O_WRONLY | O_CREAT | O_TRUNC, 0755) or die "copy: $!\n";
print $copy $program;
close $copy;

if (defined $one{netns}) {
  sysopen(my $netns, $one{netns}, O_RDONLY) or die "netns: $!\n";
  call('setns', fileno $netns, $NEWNET);
}

for (@{$many{'resource-limit'}}) {
  my ($resource, $limit) = /^(no-file|fsize)=(\d+)$/ or die "resource limit $_\n";
  call('setrlimit', $resource eq 'fsize' ? 1 : 7, pack('QQ', $limit, $limit));
}

for (@{$many{cgroup}}) {
  my @parts = split /=/;
  @parts == 2 or die "cgroup format $_\n";
  my ($controller) = $parts[0] =~ /^([a-z]+)\./ or die "cgroup file $_\n";
  my $group = '/sys/fs/cgroup/' . ($one{'cgroup-version'} == 1 ? "$controller/" : '') . "$one{'parent-cgroup'}/$id";
  make_path($group);
  write_file("$group/$parts[0]", $parts[1]);
  write_file("$group/" . ($one{'cgroup-version'} == 1 ? 'tasks' : 'cgroup.procs'), $$);
}

sysopen(my $null, '/dev/null', O_RDWR) or die "null: $!\n";
call('unshare', $NEWNS);
call('mount', 0, '/', 0, 0x84000, 0);    # slave, recursively
call('mount', $root, $root, 0, 0x5000, 0);    # bind, recursively
chdir $root or die "chdir: $!\n";
mkdir 'old_root', 0600;
call('pivot_root', '.', 'old_root');
chdir '/' or die "chdir: $!\n";
call('umount2', 'old_root', 2);
rmdir 'old_root';

for my $directory ('/', '/dev', '/dev/net', '/run') {
  mkdir $directory, 0700;
  chmod 0700, $directory;
  chown $uid, $gid, $directory;
}
for (['/dev/net/tun', 10, 200], ['/dev/kvm', 10, 232], ['/dev/urandom', 1, 9]) {
  my ($path, $major, $minor) = @$_;
  call('mknod', $path, S_IFCHR | 0600, $major << 8 | $minor);
  chown $uid, $gid, $path;
}

if ($one{daemonize}) {
  POSIX::setsid();
  POSIX::dup2(fileno $null, $_) for 0 .. 2;
}
close $null;

if ($one{'new-pid-ns'}) {
  call('unshare', $NEWPID);
  my $child = fork // die "fork: $!\n";
  if ($child) {
    write_file("/$name.pid", $child);
    exit 0;
  }
}
# What executing a program as that user does: no groups, no capability that is in use, readable by the same user.
call('setgroups', 0, 0);
call('setresgid', $gid, $gid, $gid);
call('setresuid', $uid, $uid, $uid);
call('prctl', 4, 1, 0, 0, 0);
@ARGV = ('--id', $id, '--start-time-us', 0, '--start-time-cpu-us', 0, '--parent-cpu-time-us', 0, @extra);
$0 = "/$name @ARGV";
eval $program;
die $@;

sub write_file {
  my ($path, $text) = @_;
  sysopen(my $file, $path, O_WRONLY | O_CREAT | O_TRUNC, 0644) or die "$path: $!\n";
  defined syswrite($file, $text) or die "$path: $!\n";
  close $file;
}
