# Every script of raybuild starts with this text. Facts that vary come as
# arguments and variables, never as text of the script.
umask 022
fixed=@315532800
marker=${TMPDIR:-/tmp}/.raybuild-start
touch -d '2 seconds ago' "$marker"

# settle DIR...: what this step made or changed gets the fixed time; older
# files, unpacked with a time of their own, keep it. Nothing else is touched:
# that would copy files of the layers below into this one. Mount points inside
# are the builder's.
settle() {
	awk '{ print $5 }' /proc/self/mountinfo >"$TMPDIR/mounts"
	find "$@" -xdev -newer "$marker" -print0 | grep -zvxFf "$TMPDIR/mounts" | xargs -0r touch -h -d "$fixed"
	for dir in "$@"; do
		[ ! "$dir" -nt "$marker" ] || touch -d "$fixed" "$dir"
	done
}
