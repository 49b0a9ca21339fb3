# The guard of a packet filter. It installs the table, and installs it again within a second when it is gone or changed.
# Whoever opens the gate for reading gets "ok" after a look at the table: a node starts Ray only then.
# Arguments: the table's name, the rules, the gate.
table=$1 rules=$2 gate=$3
install() {
	printf '%s' "$rules" | nft -f - && wanted=$(nft -s list table inet "$table") && [ -n "$wanted" ]
}
keep() {
	[ "$(nft -s list table inet "$table" 2>/dev/null)" = "$wanted" ] || install
}
trap 'exit 0' TERM INT # it is the container's first process: without this it would ignore them
install || exit 1
[ -p "$gate" ] || { rm -rf "$gate" && mkfifo -m 644 "$gate"; } || exit 1
(
	trap '' PIPE
	while :; do
		{ keep && echo ok; } 2>/dev/null >"$gate" || sleep 1
	done
) &
while keep && kill -0 $!; do
	sleep 1
done
exit 1
