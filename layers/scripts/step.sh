# step SCRIPT OWNER: runs a user's script. What it makes gets the fixed time, and
# in its home, which is that of the image's user, this owner.
script=$1 owner=$2 made=
before="$TMPDIR/.raybuild-before"
: >"$before"
if [ -d "$HOME" ]; then
	find "$HOME" -xdev >"$before"
else
	# A layer that has no home yet: as the user's own layer makes it.
	made=$HOME
	mkdir -p "$HOME"
	chown "$owner" "$HOME"
	printf '%s\n' "$HOME" >"$before"
fi
/bin/sh -euc "$script"
if [ -n "$made" ] && rmdir "$made" 2>/dev/null; then
	: # it was not needed
elif [ "$owner" != 0:0 ] && [ -d "$HOME" ]; then
	# What the script itself gave to somebody stays so.
	find "$HOME" -xdev -user 0 | grep -vxFf "$before" | tr '\n' '\0' | xargs -0r chown -h "$owner"
fi
settle /
