# The start of a node behind a packet filter: it waits until the filter's guard has looked at the table.
gate=$1
shift
until read -r answer <"$gate" && [ "$answer" = ok ]; do
	[ -p "$gate" ] || { echo "raybuild: the packet filter's guard has not run here yet" >&2; exit 1; }
done
exec "$@"
