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
# So it is with keys and ids that maintainer scripts make: all who have the image
# would have the same ones, and each build others. Files of packages stay.
own() { [ "$1" -nt "$marker" ] && [ -f "$1" ] && ! dpkg-query -S "$1" >/dev/null 2>&1; }
find /etc /var/lib /usr/share /usr/local -xdev -type f -newer "$marker" -size -128 \
	! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' -print0 |
	xargs -0r grep -lI -e '^-----BEGIN [A-Z ]*PRIVATE KEY-----' >"$TMPDIR/keys" || :
cat >>"$TMPDIR/keys" <<'EOF'
/etc/bind/rndc.key
/etc/hostid
/etc/iscsi/initiatorname.iscsi
/etc/munge/munge.key
/etc/nvme/hostid
/etc/nvme/hostnqn
/etc/ssl/certs/ssl-cert-snakeoil.pem
/var/lib/dbus/machine-id
/var/lib/systemd/random-seed
EOF
while read -r file; do
	if own "$file"; then
		echo "removed $file: a package's script made it, and an image must not have it"
		rm "$file"
		[ ! -e "$file.pub" ] || rm "$file.pub"
		find /etc/ssl/certs -xdev -lname "${file##*/}" -newer "$marker" -delete 2>/dev/null || :
	fi
done <"$TMPDIR/keys"
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
