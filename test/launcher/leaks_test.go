package launcher

import (
	"cmp"
	"encoding/json"
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

// traces asks a host's Engine, and looks at its disk from inside and from outside.
func (b *bed) traces(t testing.TB, i int) traces {
	t.Helper()
	const mark = "==== "
	text := b.must(t, "exec", fmt.Sprint(i), "sh", "-c", `
ask() { curl -sf --max-time 30 --unix-socket /run/docker.sock "http://d/$1"; }
echo "==== containers"; ask 'containers/json?all=1'
echo "==== volumes"; ask volumes
echo "==== networks"; ask networks
echo "==== images"; ask 'images/json?all=1'
echo "==== rules"; nft list tables | grep raybuild
echo "==== processes"; pgrep -fa '[d]ial-stdio|^[n]ft '
echo "==== files"; find /tmp /dev/shm /run /root -maxdepth 1 -not -name 'docker*' -not -name containerd`)
	said := map[string]string{}
	for _, part := range strings.Split(text, mark)[1:] {
		kind, lines, _ := strings.Cut(part, "\n")
		said[kind] = lines
	}
	out := traces{}
	for _, kind := range []string{"rules", "processes", "files"} {
		out[kind] = strings.Split(strings.TrimSpace(said[kind]), "\n")
	}
	var containers []struct{ Names []string }
	var volumes struct{ Volumes []struct{ Name string } }
	var networks []struct{ Name string }
	var images []struct {
		ID                    string
		RepoTags, RepoDigests []string
	}
	for kind, into := range map[string]any{"containers": &containers, "volumes": &volumes, "networks": &networks, "images": &images} {
		if err := json.Unmarshal([]byte(said[kind]), into); err != nil {
			t.Fatalf("host %d: read its %s: %v\n%s", i, kind, err, text)
		}
	}
	for _, c := range containers {
		out["containers"] = append(out["containers"], strings.TrimPrefix(strings.Join(c.Names, " "), "/"))
	}
	for _, v := range volumes.Volumes {
		out["volumes"] = append(out["volumes"], v.Name)
	}
	for _, n := range networks {
		out["networks"] = append(out["networks"], n.Name)
	}
	for _, m := range images {
		out["images"] = append(out["images"], cmp.Or(strings.Join(append(m.RepoTags, m.RepoDigests...), " "), m.ID))
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
		out := strings.TrimSpace(b.must(t, "exec", fmt.Sprint(i), "sh", "-c", "ss -Htnp state established sport = :22 || exit; pgrep -fa '^sshd(-session)?: root' || [ $? = 1 ]"))
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
		if !strings.HasPrefix(img, "raybuild-lock:1") && !strings.Contains(img, "/miniray@sha256:") {
			t.Errorf("host %d has the image %s", i, img)
		}
	}
	if n := len(slices.Compact(slices.Clone(now["images"]))); n != len(now["images"]) {
		t.Errorf("host %d has an image twice: %v", i, now["images"])
	}
	b.noConnections(t, i)
}
