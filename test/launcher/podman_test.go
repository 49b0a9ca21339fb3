package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// startPodman serves Docker's API by podman on a host, at /run/podman/podman.sock, where
// localSocket finds it, too. Its storage lies beside the Docker Engine's, on a real disk.
const startPodman = `set -e
mkdir -p /run/podman /etc/containers/registries.conf.d
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$1" >/etc/containers/registries.conf.d/bed.conf
[ -e /usr/local/sbin/podman ] || {
  runtime=$(docker info -f '{{.DefaultRuntime}}' |
    sed 's#^clamped$#/usr/local/sbin/runc-clamped#; s#^runc$#/usr/sbin/runc#')
  printf '%s\n' '#!/bin/sh' 'exec /usr/bin/podman --root /var/lib/docker/podman --runroot /run/podman/run \' \
    "  --runtime $runtime --cgroup-manager cgroupfs \"\$@\"" >/usr/local/sbin/podman
  chmod +x /usr/local/sbin/podman
}
setsid podman system service --time=0 unix:///run/podman/podman.sock >/var/log/podman.log 2>&1 </dev/null &
echo $! >/run/podman/pid
for i in $(seq 100); do
  curl -sf -o /dev/null --unix-socket /run/podman/podman.sock http://d/_ping && exit; sleep 0.1
done
cat /var/log/podman.log; exit 1`

const stopPodman = `podman rm -af -t 0 >/dev/null; kill $(cat /run/podman/pid)
umount /var/lib/docker/podman/overlay 2>/dev/null
rm -rf /run/podman /var/lib/docker/podman /usr/local/sbin/podman /etc/containers/registries.conf.d/bed.conf`

// TestClusterOnPodman types the commands of one whose machine has podman in Docker's place. Ray is
// miniray: a stand-in that counts nodes and runs nothing.
func TestClusterOnPodman(t *testing.T) {
	b := needBed(t)
	testneeds.Programs(t, "podman")
	home := b.programOnHost(t)
	b.Must(t, "exec", "1", "sh", "-c", startPodman, "sh", b.Registry)
	t.Cleanup(func() { b.Must(t, "exec", "1", "sh", "-c", stopPodman) })
	text := "name: pod\nimage: " + b.image + "\nhead: {host: \"unix:///run/podman/podman.sock\", num_cpus: 1, " +
		"shm_size: 128m}\n"
	if err := os.WriteFile(filepath.Join(home, "cluster.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	says := func(command, want string, fails bool) {
		out, err := b.Script("exec", "1", "sh", "-c", "cd /root && HOME=/root ./raybuild cluster --insecure-registry "+
			b.Registry+" "+command+" 2>&1")
		t.Logf("raybuild cluster %s\n%s", command, out)
		if (err != nil) != fails || !strings.Contains(out, want) {
			t.Errorf("raybuild cluster %s: %v; it should say %q", command, err, want)
		}
	}
	says("up", "cluster pod is up: 1 node alive, 1 change", false)
	says("up", "cluster pod is up to date: 1 node alive, nothing changed", false)
	says("status", "pod-head", false)
	says("exec -- ray --version", "ray, version 2.52.0", false)
	says("logs", "Ray runtime started", false)
	b.Must(t, "exec", "1", "podman", "create", "--name", "raybuild-lock-pod", "--label", "raybuild.cluster=pod",
		"--label", "raybuild.role=lock", "--label",
		"raybuild.lock.owner=ghost@elsewhere", "--label",
		"raybuild.lock.deadline="+time.Now().Add(time.Hour).Format(time.RFC3339Nano), b.image, "/raybuild")
	says("down", "ghost@elsewhere runs `up`, `scale` or `down` on cluster \"pod\" now", true)
	b.Must(t, "exec", "1", "podman", "rm", "raybuild-lock-pod")
	says("down", "cluster pod is down: 1 container and 1 volume removed", false)
	if out := b.Must(t, "exec", "1", "podman", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("podman has containers left: %s", out)
	}
}
