package launcher

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// traces are all things on a host that a launcher may leave, by kind, sorted.
type traces map[string][]string

// traces looks at a host with the tools of a user, and at its disk from outside.
func (b *bed) traces(t testing.TB, i int) traces {
	t.Helper()
	out := traces{}
	const mark = "==== "
	text := b.must(t, "exec", fmt.Sprint(i), "sh", "-c", `
echo "==== containers"; docker ps -a --format '{{.Names}}'
echo "==== volumes"; docker volume ls -q
echo "==== networks"; docker network ls --format '{{.Name}}'
echo "==== images"; docker image ls -a --digests --format '{{.Repository}}:{{.Tag}}@{{.Digest}}'
echo "==== rules"; nft list tables | grep raybuild
echo "==== processes"; pgrep -fa '[d]ial-stdio|^[n]ft '
echo "==== files"; find /tmp /dev/shm /run /root -maxdepth 1 -not -name 'docker*' -not -name containerd`)
	for _, part := range strings.Split(text, mark)[1:] {
		kind, lines, _ := strings.Cut(part, "\n")
		out[kind] = strings.Split(strings.TrimSpace(lines), "\n")
	}
	if len(out) != 7 {
		t.Fatalf("host %d shows only %d kinds of things:\n%s", i, len(out), text)
	}
	upper := filepath.Join(b.dir, fmt.Sprintf("h%d", i), "upper") // what differs from this machine's disk
	err := filepath.WalkDir(upper, func(path string, d os.DirEntry, err error) error {
		if rel := strings.TrimPrefix(path, upper); rel == "/var/log" {
			return filepath.SkipDir
		} else if err == nil && !d.IsDir() {
			out["files"] = append(out["files"], rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind := range out {
		slices.Sort(out[kind])
		out[kind] = slices.DeleteFunc(out[kind], func(s string) bool { return s == "" })
	}
	return out
}

// noConnections waits until nobody is connected to a host's sshd: the Engine's and the tunnels' connections are one of these.
func (b *bed) noConnections(t testing.TB, i int) {
	t.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		out := strings.TrimSpace(b.must(t, "exec", fmt.Sprint(i), "sh", "-c", "ss -Htnp state established sport = :22; pgrep -fa '^sshd(-session)?: root' || true"))
		if out == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("host %d still has SSH connections:\n%s", i, out)
			return
		}
	}
}

// nothingLeft checks that a host has nothing of raybuild any more, but for the images that it pulled.
func (b *bed) nothingLeft(t testing.TB, i int) {
	t.Helper()
	now := b.traces(t, i)
	login := func(file string) bool { return strings.Contains(file, "/.docker") }
	left := traces{"containers": now["containers"], "volumes": now["volumes"], "packet filters": now["rules"],
		"networks":    slices.DeleteFunc(now["networks"], func(s string) bool { return s == "bridge" || s == "host" || s == "none" }),
		"lock images": slices.DeleteFunc(now["images"], func(s string) bool { return !strings.HasPrefix(s, "raybuild-") }),
		"files or logins": slices.DeleteFunc(now["files"], func(s string) bool {
			return !login(s) && !strings.Contains(strings.ToLower(filepath.Base(s)), "ray")
		})}
	for what, names := range left {
		if len(names) > 0 {
			t.Errorf("host %d has %s left: %v", i, what, names)
		}
	}
}

// onlyTheNode checks that of a cluster that is up a host has its node, its token and its packet filter, and nothing else than before.
func (b *bed) onlyTheNode(t testing.TB, i int, cluster string, before traces) {
	t.Helper()
	now := b.traces(t, i)
	want := traces{"containers": {cluster + "-"}, "volumes": {"raybuild-" + cluster + "-auth"}, "rules": {"table inet raybuild-" + cluster},
		"networks": before["networks"], "files": before["files"], "processes": nil}
	if len(now["containers"]) == 1 && strings.HasPrefix(now["containers"][0], cluster+"-") {
		want["containers"] = now["containers"]
	}
	for _, kind := range []string{"containers", "volumes", "networks", "rules", "files", "processes"} {
		if !slices.Equal(now[kind], want[kind]) {
			t.Errorf("host %d has %s %v, want %v", i, kind, now[kind], want[kind])
		}
	}
	for _, img := range now["images"] {
		if !strings.HasPrefix(img, "raybuild-lock:1@") && !strings.Contains(img, "/miniray:") {
			t.Errorf("host %d has the image %s", i, img)
		}
	}
	if n := len(slices.Compact(slices.Clone(now["images"]))); n != len(now["images"]) {
		t.Errorf("host %d has an image twice: %v", i, now["images"])
	}
	b.noConnections(t, i)
}
