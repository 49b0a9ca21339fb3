# apt-install REQUESTED...: installs the packages of $DEBS, all of them local
# files, with no network, no lists, no logs and nothing that differs next time.
cp /etc/shadow "$TMPDIR/shadow"
mkdir "$TMPDIR/log"
cp -a /var/log/. "$TMPDIR/log/"
apt-get install -y -q --no-install-recommends \
	-o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 \
	-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
	-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--log=/dev/null \
	"$DEBS"/*.deb
for deb in "$DEBS"/*.deb; do dpkg-deb -f "$deb" Package; done | sort -u >"$TMPDIR/all"
printf '%s\n' "$@" | sed 's/[=:].*//' | sort -u >"$TMPDIR/asked"
comm -23 "$TMPDIR/all" "$TMPDIR/asked" | xargs -r apt-mark auto >/dev/null

# The day of a password's last change is the clock's.
awk -F: -v OFS=: 'NR == FNR { old[$1]; next } !($1 in old) { $3 = 3652 } 1' "$TMPDIR/shadow" /etc/shadow >"$TMPDIR/shadow.new"
cmp -s "$TMPDIR/shadow.new" /etc/shadow || cat "$TMPDIR/shadow.new" >/etc/shadow
[ ! -e /etc/shadow- ] || [ ! /etc/shadow- -nt "$marker" ] || cp "$TMPDIR/shadow" /etc/shadow-
# One machine, one id: an image must have none.
[ ! /etc/machine-id -nt "$marker" ] || : >/etc/machine-id
# Byte code that Debian's maintainer scripts compile holds times and an order of
# its own; python makes it anew where it may.
for dir in /usr/lib/python* /usr/share/python*; do
	[ -d "$dir" ] || continue
	find "$dir" -xdev -name '*.pyc' -newer "$marker" -delete
	find "$dir" -xdev -name __pycache__ -empty -newer "$marker" -delete
done
# Logs that were there are put back, new ones go.
find /var/log -xdev -type f -newer "$marker" | while read -r file; do
	if [ -e "$TMPDIR/log/${file#/var/log/}" ]; then
		cp -p "$TMPDIR/log/${file#/var/log/}" "$file"
	else
		rm "$file"
	fi
done
settle /
