# online: brings up the bridge to raybuild's proxy.
perl "$BRIDGE" "$GATEWAY" "$TMPDIR/bridge-ready" &
bridge=$!
trap 'kill $bridge 2>/dev/null' EXIT
tries=0
until [ -e "$TMPDIR/bridge-ready" ]; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] || { echo "the bridge to raybuild's proxy did not start; the base needs perl-base" >&2; exit 1; }
	sleep 0.05
done
export http_proxy=http://127.0.0.1:3142 HTTP_PROXY=http://127.0.0.1:3142
export https_proxy= HTTPS_PROXY= no_proxy= NO_PROXY=
