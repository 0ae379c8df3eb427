# Tries what the service must not be able to do, and what it must, and prints for each "possible" or the error.
#
#   perl probe.pl DISK
#
# For:     tests/service/sandbox.rs, which runs it inside of the unit's sandbox and outside of it, in a machine of its own.
# Needs:   perl-base, which every Debian has: the only language there that makes any system call without a compiler.
# Leaves:  nothing. Each attempt is made by a child of its own, and is harmless where it succeeds: no clock is set, no module
#          is one, and nothing is read of a device.
use strict;
use warnings;
use POSIX ();
use Socket;

$| = 1;
my $disk = shift or die "usage: $0 DISK\n";
my $arm = (POSIX::uname())[4] eq 'aarch64';

# Numbers of system calls: of x86_64, of aarch64.
my %number = (
    mmap               => [9,   222],
    ptrace             => [101, 117],
    sched_setscheduler => [144, 119],
    mount              => [165, 40],
    swapon             => [167, 224],
    sethostname        => [170, 161],
    init_module        => [175, 105],
    clock_settime      => [227, 112],
    unshare            => [272, 97],
    mknodat            => [259, 33],
    fchmodat           => [268, 53],
    finit_module       => [313, 273],
);

sub call {
    my ($name, @arguments) = @_;
    my $result = syscall($number{$name}[$arm], @arguments);
    return $result != -1;
}

sub opens { return sysopen(my $file, $_[0], $_[1]) }

sub listens {
    my $socket;
    return socket($socket, PF_INET, SOCK_STREAM, 0) && setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1)
        && bind($socket, pack_sockaddr_in($_[0], INADDR_LOOPBACK));
}

sub makes { return opens($_[0], POSIX::O_RDWR | POSIX::O_CREAT) && unlink $_[0] }

sub lists { return opendir(my $directory, $_[0]) }

my $state = $ENV{STATE_DIRECTORY} // '/var/lib/bms-agent';
my ($RDONLY, $RDWR) = (POSIX::O_RDONLY, POSIX::O_RDWR);
my @attempts = (
    ['open the disk for writing'    => sub { opens($disk, $RDWR) }],
    ['write the state directory'    => sub { makes("$state/probe") }],
    ['listen on port 7443'          => sub { listens(7443) }],
    ['read the list of mounts'      => sub { opens('/proc/self/mountinfo', $RDONLY) }],
    ['mount'                        => sub { call('mount', 'none', '/mnt', 'tmpfs', 0, 0) }],
    # It is no module: who may load one is told so.
    ['load a module from memory'    => sub { call('init_module', 'nothing', 7, '') }],
    ['load a module from a file'    => sub { call('finit_module', fileno(STDIN), '', 0) }],
    # There is no such time: who may set the clock is told so.
    ['set the clock'                => sub { call('clock_settime', 0, pack('qq', 0, -1)) }],
    # There is no such file: who may swap is told so.
    ['swap'                         => sub { call('swapon', '/nowhere', 0) }],
    # No name is as long: who may set one is told so.
    ['set the host name'            => sub { call('sethostname', 'x', 4096) }],
    # PTRACE_SEIZE stops nothing, and ends with the tracer.
    ['trace process 1'              => sub { call('ptrace', 0x4206, 1, 0, 0) }],
    ['make a mount namespace'       => sub { call('unshare', 0x00020000) }],
    ['make a user namespace'        => sub { call('unshare', 0x10000000) }],
    ['run in real time'             => sub { call('sched_setscheduler', 0, 1, pack('i', 1)) }],
    ['map writable code'            => sub { call('mmap', 0, 4096, 7, 0x22, -1, 0) }],
    ['open a packet socket'         => sub { socket(my $socket, 17, SOCK_RAW, 0) }],
    ['open a raw socket'            => sub { socket(my $socket, PF_INET, SOCK_RAW, 1) }],
    ['list /home'                   => sub { lists('/home') }],
    ['list /root'                   => sub { lists('/root') }],
    ['write /etc'                   => sub { makes('/etc/probe') }],
    ['write /usr'                   => sub { makes('/usr/probe') }],
    ['write /boot'                  => sub { makes('/boot/probe') }],
    ['open a device that is no disk' => sub { opens('/dev/loop-control', $RDWR) }],
    ['make a device'                => sub { call('mknodat', -100, '/tmp/probe', 020600, 0x0103) && unlink '/tmp/probe' }],
    ['make a setuid program'        => sub { opens("$state/probe", POSIX::O_RDWR | POSIX::O_CREAT) && call('fchmodat', -100, "$state/probe", 04755) && unlink "$state/probe" }],
    ['read the log of the kernel'   => sub { opens('/proc/kmsg', $RDONLY) }],
);

for my $attempt (@attempts) {
    my ($name, $try) = @$attempt;
    my $child = fork // die "fork: $!";
    if ($child == 0) {
        $! = 0;
        my $done = $try->();
        print "$name: ", $done ? 'possible' : "$!", "\n";
        POSIX::_exit(0);
    }
    waitpid $child, 0;
    print "$name: killed by signal $?\n" if $?;
}
