# step SCRIPT OWNER: runs a user's script. What it makes gets the fixed time, and
# in its home, which is that of the image's user, this owner. Group 0 may do there what
# the owner may: platforms that choose the user, as OpenShift does, give it this group.
# Not so what the group may not read (0600), and ~/.ssh, whose files ssh would refuse.
script=$1 owner=$2 uid=${2%:*} made=
before="$TMPDIR/.raybuild-before"
: >"$before"
if [ -d "$HOME" ]; then
	find "$HOME" -xdev >"$before"
else
	# A layer that has no home yet: as the user's own layer makes it.
	made=$HOME
	mkdir -p "$HOME"
	if [ "$owner" != 0:0 ]; then
		chown "$uid:0" "$HOME"
		chmod 0775 "$HOME"
	fi
	printf '%s\n' "$HOME" >"$before"
fi
/bin/sh -euc "$script"
if [ -n "$made" ] && rmdir "$made" 2>/dev/null; then
	: # it was not needed
elif [ "$owner" != 0:0 ] && [ -d "$HOME" ]; then
	# What the script itself gave to somebody stays so.
	find "$HOME" -xdev -user 0 | grep -vxFf "$before" | tr '\n' '\0' | xargs -0r chown -h "$uid:0"
	find "$HOME" -xdev -user "$uid" -group 0 ! -type l -perm -g=r ! -path "$HOME/.ssh" ! -path "$HOME/.ssh/*" |
		grep -vxFf "$before" | tr '\n' '\0' | xargs -0r chmod g=u
fi
settle /
