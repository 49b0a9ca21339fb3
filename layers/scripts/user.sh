# user NAME UID GID HOME: makes a user with fixed ids by writing the account
# files: useradd would add the clock and what else the base's defaults say.
name=$1 uid=$2 gid=$3 home=$4
if grep -q "^$name:" /etc/passwd; then
	if [ "$(awk -F: -v n="$name" '$1 == n { print $3 ":" $4 }' /etc/passwd)" != "$uid:$gid" ]; then
		echo "the base already has a user $name with other ids than $uid:$gid; choose another image.user" >&2
		exit 1
	fi
else
	grep -q "^[^:]*:[^:]*:$gid:" /etc/group || printf '%s:x:%s:\n' "$name" "$gid" >>/etc/group
	# Before a user who already has the id, so that look-ups by id find this one.
	sed -i "1a\\
$name:x:$uid:$gid::$home:/bin/bash" /etc/passwd
	[ ! -e /etc/shadow ] || printf '%s:*:3652:0:99999:7:::\n' "$name" >>/etc/shadow
fi
# Platforms that choose the user, as OpenShift does, give it group 0: it may write the home, too.
mkdir -p "$home"
chown "$uid:0" "$home"
chmod 0775 "$home"
settle /
