#!/usr/bin/env bash
# hosts.sh: N simulated machines on one box, for tests of things that drive Docker over SSH.
#
#   hosts.sh up N                 start h1..hN; each has its own address, sshd and dockerd
#   hosts.sh down                 stop everything and remove every trace of it
#   hosts.sh exec I CMD [ARG...]  run a command inside host I
#   hosts.sh env                  print shell lines for a client: eval "$(hosts.sh env)"
#   hosts.sh status               one line per host
#   hosts.sh cut I | heal I       unplug / replug host I's network cable
#   hosts.sh loss I PCT           drop PCT % of the packets towards host I (0 ends it)
#   hosts.sh hole I BYTES         lose packets towards host I that are longer, as a black hole for large ones does (0 ends it)
#   hosts.sh dockerd I SIG        send a signal to host I's dockerd (KILL, STOP, CONT, ...)
#   hosts.sh boot I               start what is down on host I (the host itself, sshd, dockerd)
#   hosts.sh off I                power host I off: every process of it, containers too, at once
#   hosts.sh outside CMD [ARG...] run a command on a machine of the same network that is none of the hosts
#
# A host is a network + mount + PID + UTS + IPC namespace over a copy-on-write view of this machine's
# root (overlayfs), so /etc, /root, /tmp, /run/docker.sock differ per host, and the one process that
# is its PID 1 takes the host's whole process tree with it. The hosts' ports meet in a bridge that has
# a namespace of its own; this machine has one port on it, too. Nothing is routed to the outside.
#
# Needs root, and: docker.io (dockerd, containerd, runc, docker-init, docker), openssh-server,
# openssh-client, iproute2, iptables, util-linux, python3 (only where CAP_SYS_RESOURCE is missing).
#
# Settings (environment): HOSTS_NAME (prefix of all names, at most 6 letters), HOSTS_NET (first three
# octets), HOSTS_DIR (state; must be on a real file system such as ext4 or xfs), HOSTS_DOCKERD_ARGS,
# HOSTS_SSHD_CONFIG (further lines of sshd_config, for hosts that are stricter than sshd's defaults).
set -euo pipefail
NAME=${HOSTS_NAME:-rbh} NET=${HOSTS_NET:-10.88.0} DIR=${HOSTS_DIR:-/var/tmp/raybuild-hosts}
DOCKERD_ARGS=${HOSTS_DOCKERD_ARGS:-} SSHD_CONFIG=${HOSTS_SSHD_CONFIG:-}

die() { echo "hosts.sh: $*" >&2; exit 1; }
addr() { echo "$NET.$((10 + $1))"; }
pid_of() { cat "$DIR/h$1/pid" 2>/dev/null || true; }
alive() { local p; p=$(pid_of "$1"); [ -n "$p" ] && [ "$(readlink "/proc/$p/ns/pid" 2>/dev/null)" = "$(cat "$DIR/h$1/pidns")" ]; }
all() { local d; for d in "$DIR"/h[0-9]*; do [ -d "$d" ] && echo "${d##*/h}"; done | sort -n; }
inside() { local i=$1; shift; alive "$i" || die "host $i is off"; nsenter -t "$(pid_of "$i")" -m -u -i -n -p -r -w -- "$@"; }
in_switch() { nsenter --net="/run/netns/$NAME-sw" "$@"; }
can_raise_limits() { (( 0x$(awk '/^CapEff/{print $2}' /proc/self/status) >> 24 & 1 )); }
until_true() { local n=$1; shift; while ! "$@" >/dev/null 2>&1; do (( n-- > 0 )) || return 1; sleep 0.1; done; }

# plug NS PORT ADDR: a cable from the switch (its end is PORT) to the namespace NS ("" = this one).
plug() {
  ip -n "$NAME-sw" link add "$2" type veth peer name "p-$2"
  ip -n "$NAME-sw" link set "$2" master br0 up
  if [ -n "$1" ]; then
    ip -n "$NAME-sw" link set "p-$2" name eth0 netns "$1"
    ip -n "$1" addr add "$3/24" dev eth0; ip -n "$1" link set eth0 up; ip -n "$1" link set lo up
    ip -n "$1" route add default via "$NET.1"
  else
    ip -n "$NAME-sw" link set "p-$2" name "$NAME-me" netns $$
    ip addr add "$3/24" dev "$NAME-me"; ip link set "$NAME-me" up
  fi
}

# _init I: PID 1 of host I. Builds its root, enters it and waits there.
_init() {
  local d=$DIR/h$1 r=$DIR/h$1/root pid c
  read -r pid _ </proc/self/stat                 # the outer /proc is still mounted: the outer pid
  hostname "h$1"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$d/upper,workdir=$d/work" "$r"
  mount -t proc proc "$r/proc"
  mount -t sysfs sysfs "$r/sys"
  mount --rbind /sys/fs/cgroup "$r/sys/fs/cgroup"
  mount --rbind /dev "$r/dev"
  for c in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$r$c"; done
  chmod 755 "$r/run"; mkdir -p "$r/run/sshd" "$r/run/lock"
  mount --bind "$d/docker" "$r/var/lib/docker"   # overlay2 cannot sit on an overlay: the real disk
  mount --bind "$d/etc-docker" "$r/etc/docker"   # its own daemon ID, and not this machine's daemon.json
  mount --bind "$d/home" "$r/root"               # not this machine's: its secrets, its slow .bashrc
  cd "$r"; mkdir -p .old; pivot_root . .old; umount -l /.old; rmdir /.old
  echo "$pid" >&3; exec 3>&-
  exec docker-init -- sleep infinity
}

start_host() {
  local i=$1 d=$DIR/h$1
  rm -f "$d/pid"; mkdir -p "$d/root" "$d/work" "$d/docker"
  setsid nsenter --net="/run/netns/$NAME-h$i" unshare -m -u -i -p --fork --kill-child \
    bash "$(readlink -f "$0")" _init "$i" 3>"$d/pid.new" >"$d/init.log" 2>&1 </dev/null &
  until_true 100 test -s "$d/pid.new" || { cat "$d/init.log" >&2; die "host $i does not start"; }
  readlink "/proc/$(cat "$d/pid.new")/ns/pid" >"$d/pidns"; mv "$d/pid.new" "$d/pid"
}

ping_dockerd() { inside "$1" curl -sf --max-time 2 --unix-socket /run/docker.sock http://d/_ping; }
no_dockerd() { ! inside "$1" sh -c 'kill -0 $(cat /run/docker.pid)'; }

start_services() {
  local i=$1 d=$DIR/h$1 rt=()
  inside "$i" sh -c 'kill -0 $(cat /run/sshd.pid)' 2>/dev/null || inside "$i" /usr/sbin/sshd -E /var/log/sshd.log
  ping_dockerd "$i" >/dev/null 2>&1 && return
  until_true 300 no_dockerd "$i" || die "host $i: the last dockerd neither answers nor ends"
  can_raise_limits || rt=(--add-runtime clamped=/usr/local/sbin/runc-clamped --default-runtime clamped)
  inside "$i" rm -f /run/docker.pid
  # As a child of the host's own init: nsenter outside would stop with a dockerd that is sent STOP, and then never reap it.
  # shellcheck disable=SC2016,SC2086
  inside "$i" sh -c 'setsid "$@" &' sh dockerd --host unix:///run/docker.sock --cgroup-parent "/$NAME-h$i" \
    "${rt[@]}" $DOCKERD_ARGS >>"$d/dockerd.log" 2>&1 </dev/null
}

await() {
  until_true 200 ping_dockerd "$1" ||
    { tail -3 "$DIR/h$1/dockerd.log" >&2; die "no dockerd on host $1"; }
}

boot() {
  alive "$1" || start_host "$1"
  start_services "$1"
}

make_host() {
  local i=$1 d=$DIR/h$1 e=$DIR/h$1/upper/etc
  mkdir -p "$e/ssh" "$e/docker" "$d/etc-docker" "$d/home/.ssh" "$d/upper/var/lib/docker" "$d/upper/usr/local/sbin"; chmod 700 "$d/home" "$d/home/.ssh"
  echo "h$i" >"$e/hostname"
  { echo "127.0.0.1 localhost"; for n in $(seq "$N"); do echo "$(addr "$n") h$n"; done; } >"$e/hosts"
  cp "$DIR/id_ed25519.pub" "$d/home/.ssh/authorized_keys"
  ssh-keygen -q -t ed25519 -N '' -C "h$i" -f "$e/ssh/ssh_host_ed25519_key"
  printf '%s\n' "ListenAddress $(addr "$i")" "HostKey /etc/ssh/ssh_host_ed25519_key" "PermitRootLogin prohibit-password" \
    "PasswordAuthentication no" "KbdInteractiveAuthentication no" "UsePAM no" "PidFile /run/sshd.pid" \
    "Subsystem sftp internal-sftp" "$SSHD_CONFIG" >"$e/ssh/sshd_config"
  echo "$(addr "$i"),h$i $(cut -d' ' -f1,2 "$e/ssh/ssh_host_ed25519_key.pub")" >>"$DIR/known_hosts"
  write_clamped >"$d/upper/usr/local/sbin/runc-clamped"; chmod +x "$d/upper/usr/local/sbin/runc-clamped"
  ip netns add "$NAME-h$i"
  plug "$NAME-h$i" "h$i" "$(addr "$i")"
}

# Where this machine lacks CAP_SYS_RESOURCE, runc refuses --privileged and limits above its own: clamp them.
write_clamped() { cat <<'PY'
#!/usr/bin/python3
import json, os, resource, sys
args = sys.argv[1:]
def value(*names):
    return next((args[i + 1] for i, a in enumerate(args) if a in names), None)
file = value("--process", "-p") if "exec" in args else None
if {"create", "run"} & set(args):
    file = os.path.join(value("--bundle", "-b") or ".", "config.json")
if file:
    spec = json.load(open(file))
    p = spec.get("process", spec)               # config.json, or the process alone for exec
    for k, v in (p.get("capabilities") or {}).items():
        p["capabilities"][k] = [x for x in v or [] if x != "CAP_SYS_RESOURCE"]
    for r in p.get("rlimits") or []:
        top = resource.getrlimit(getattr(resource, r["type"]))[1]
        if top != resource.RLIM_INFINITY:
            r["hard"] = min(r["hard"], top)
            r["soft"] = min(r["soft"], top)
    p["oomScoreAdj"] = max(p.get("oomScoreAdj") or 0, 0)
    json.dump(spec, open(file, "w"))
os.execvp("runc", ["runc"] + args)
PY
}

up() {
  N=${1:?up N}; [ ! -e "$DIR" ] || die "$DIR is there already: hosts.sh down first"
  trap '[ $? = 0 ] || down' EXIT
  mkdir -p "$DIR/bin"; chmod 700 "$DIR"
  ssh-keygen -q -t ed25519 -N '' -C hosts.sh -f "$DIR/id_ed25519"
  printf '%s\n' "Host $NET.* h*" "  User root" "  IdentityFile $DIR/id_ed25519" "  IdentitiesOnly yes" \
    "  UserKnownHostsFile $DIR/known_hosts" "  StrictHostKeyChecking yes" "  BatchMode yes" >"$DIR/ssh_config"
  printf '#!/bin/sh\nexec /usr/bin/ssh -F %s "$@"\n' "$DIR/ssh_config" >"$DIR/bin/ssh"; chmod +x "$DIR/bin/ssh"
  ip netns add "$NAME-sw"
  ip -n "$NAME-sw" link set lo up
  ip -n "$NAME-sw" link add br0 type bridge
  ip -n "$NAME-sw" link set br0 up
  plug "" me "$NET.1"
  for i in $(seq "$N"); do make_host "$i"; done
  for i in $(seq "$N"); do boot "$i"; done
  for i in $(seq "$N"); do await "$i"; done
}

gone() { [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"; }

off() {
  local p; alive "$1" || return 0
  p=$(pid_of "$1"); kill -KILL "$p"; until_true 600 gone "$p" || die "host $1 does not die"
}

down() {
  local i c failed=0
  for i in $(all); do (off "$i") || failed=1; done   # the others go all the same
  for i in $(all); do
    ip netns del "$NAME-h$i" 2>/dev/null || true
    for c in $(find /sys/fs/cgroup -depth -type d -path "*/$NAME-h$i*" 2>/dev/null); do
      until_true 20 rmdir "$c" || echo "hosts.sh: left $c" >&2
    done
  done
  ip netns del "$NAME-out" 2>/dev/null || true
  ip link del "$NAME-me" 2>/dev/null || true      # at once; what is in a namespace goes a little later
  ip netns del "$NAME-sw" 2>/dev/null || true
  rm -rf --one-file-system "$DIR" || failed=1
  return $failed
}

# outside: a namespace with a cable of its own at address .99, made when it is first asked for.
outside() {
  if [ ! -e "/run/netns/$NAME-out" ]; then
    ip netns add "$NAME-out"
    plug "$NAME-out" out "$NET.99"
  fi
  ip netns exec "$NAME-out" "$@"
}

status() {
  local i
  for i in $(all); do
    printf 'h%s %s ' "$i" "$(addr "$i")"
    if alive "$i"; then inside "$i" ps -e -o rss= | awk '{n++; s += $1} END {print n " processes, " int(s / 1024) " MiB resident"}'
    else echo off; fi
  done
}

cmd=${1:-}; shift || true
case $cmd in
  up) up "$@" ;;
  down) down ;;
  exec) inside "$@" ;;
  env) echo "export PATH='$DIR/bin':\$PATH"; for i in $(all); do echo "export H$i=ssh://root@$(addr "$i")"; done ;;
  status) status ;;
  cut) ip -n "$NAME-sw" link set "h$1" down ;;
  heal) ip -n "$NAME-sw" link set "h$1" up ;;
  loss) in_switch nft "destroy table bridge loss$1" 2>/dev/null || in_switch nft "delete table bridge loss$1" 2>/dev/null || true
        [ "$2" = 0 ] || in_switch nft "add table bridge loss$1; add chain bridge loss$1 c { type filter hook forward priority 0; }; add rule bridge loss$1 c oifname h$1 numgen random mod 100 < $2 drop" ;;
  hole) in_switch nft "add table bridge hole$1; delete table bridge hole$1"
        [ "$2" = 0 ] || in_switch nft "add table bridge hole$1; add chain bridge hole$1 c { type filter hook forward priority 0; }; add rule bridge hole$1 c oifname h$1 meta length > $2 drop" ;;
  dockerd) inside "$1" sh -c "kill -$2 \$(cat /run/docker.pid)" ;;
  boot) boot "$1"; await "$1" ;;
  off) off "$1" ;;
  outside) outside "$@" ;;
  _init) _init "$1" ;;
  *) sed -n '2,16p' "$0"; exit 2 ;;
esac
