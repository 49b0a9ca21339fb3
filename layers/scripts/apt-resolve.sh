# apt-resolve OUT PACKAGE...: asks apt what the packages need on this base.
# Sources are read over http from raybuild, which knows which hosts want TLS.
out=$1
shift
mkdir -p "$TMPDIR/parts" "$TMPDIR/lists/partial" "$TMPDIR/cache/archives/partial"
: >"$TMPDIR/sources.list"
# A release past its end ($FINAL) changes no more: its lists hold, though their day has passed, and they have what its
# updates had.
edit='s,https://,http://,'
[ -z "${FINAL-}" ] || edit="$edit; / [a-z]*-updates /d; s,^deb \[,deb [check-valid-until=no ,
s,^deb \([^[]\),deb [check-valid-until=no] \1,"
[ ! -e /etc/apt/sources.list ] || sed "$edit" /etc/apt/sources.list >"$TMPDIR/sources.list"
for file in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
	[ ! -e "$file" ] || sed "$edit" "$file" >"$TMPDIR/parts/${file##*/}"
done
for file in "$EXTRA"/*.list; do
	[ ! -e "$file" ] || sed 's,https://,http://,' "$file" >"$TMPDIR/parts/${file##*/}"
done
cat >"$TMPDIR/apt.conf" <<CONF
APT::Sandbox::User "root";
Acquire::http::Proxy "http://127.0.0.1:3142";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::ForceHash "SHA256";
Debug::NoLocking "true";
Dir::Etc::SourceList "$TMPDIR/sources.list";
Dir::Etc::SourceParts "$TMPDIR/parts";
Dir::State::Lists "$TMPDIR/lists";
Dir::Cache "$TMPDIR/cache";
Dir::Log "$TMPDIR";
CONF
export APT_CONFIG="$TMPDIR/apt.conf"
# A source without a valid signature is an error. apt-get before 1.5 only warns, and a base may have turned it off; an
# option on the command line comes last.
signed() {
	for what in AllowInsecureRepositories AllowWeakRepositories AllowDowngradeToInsecureRepositories; do
		set -- "$@" -o "Acquire::$what=false" -o "Binary::apt-get::Acquire::$what=false"
	done
	apt-get "$@" -o APT::Get::AllowUnauthenticated=false
}
if ! signed update -q -o APT::Update::Error-Mode=any >&2 2>"$out/stderr"; then
	cat "$out/stderr" >&2
	echo update >"$out/failed"
	exit 0
fi
cat "$out/stderr" >&2
if ! signed install -q -y --print-uris --no-install-recommends "$@" >"$out/uris" 2>"$out/stderr"; then
	cat "$out/stderr" >&2
	echo install >"$out/failed"
fi
