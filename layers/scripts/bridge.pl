# The step has no network. What it asks of 127.0.0.1:3142 goes through the
# socket $ARGV[0] to raybuild, which answers as an HTTP proxy would.
use strict;
use Socket;
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';
socket(my $listen, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listen, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listen, sockaddr_in(3142, INADDR_LOOPBACK)) or die "bind: $!";
listen($listen, 128) or die "listen: $!";
open(my $ready, '>', $ARGV[1]) or die "$ARGV[1]: $!";
close($ready);

sub copy {
	my ($from, $to) = @_;
	my $data;
	while (sysread($from, $data, 65536)) {
		my $at = 0;
		while ($at < length $data) {
			my $n = syswrite($to, $data, length($data) - $at, $at) or return;
			$at += $n;
		}
	}
	shutdown($to, 1);
}

while (1) {
	my $in;
	accept($in, $listen) or next;
	next if fork;
	socket(my $out, PF_UNIX, SOCK_STREAM, 0) or exit 1;
	connect($out, sockaddr_un($ARGV[0])) or exit 1;
	if (fork) { copy($in, $out); }
	else      { copy($out, $in); }
	exit 0;
}
