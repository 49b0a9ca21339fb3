package bed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Traces are all things on a host that a launcher may leave, by kind, sorted.
type Traces map[string][]string

// Traces asks a host's Engine, and looks at its disk from inside and from outside.
func (b *Bed) Traces(t testing.TB, i int) Traces {
	t.Helper()
	const mark = "==== "
	text := b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", `
ask() { curl -sf --max-time 30 --unix-socket /run/docker.sock "http://d/$1"; }
echo "==== containers"; ask 'containers/json?all=1'
echo "==== volumes"; ask volumes
echo "==== networks"; ask networks
echo "==== images"; ask 'images/json?all=1'
echo "==== rules"; nft list tables | grep raybuild
echo "==== processes"; pgrep -fa '[d]ial-stdio|^[n]ft [^-]'
echo "==== files"; find /tmp /dev/shm /run /root -maxdepth 1 -not -name 'docker*' -not -name containerd`)
	said := map[string]string{}
	for _, part := range strings.Split(text, mark)[1:] {
		kind, lines, _ := strings.Cut(part, "\n")
		said[kind] = lines
	}
	out := asked(t, i, said)
	for _, kind := range []string{"rules", "processes", "files"} {
		out[kind] = strings.Split(strings.TrimSpace(said[kind]), "\n")
	}
	upper := filepath.Join(b.Dir, fmt.Sprintf("h%d", i), "upper") // what differs from this machine's disk
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

// asked are the things that the Engine listed.
func asked(t testing.TB, i int, said map[string]string) Traces {
	t.Helper()
	out := Traces{}
	var containers []struct{ Names []string }
	var volumes struct{ Volumes []struct{ Name string } }
	var networks []struct{ Name string }
	var images []struct {
		ID                    string
		RepoTags, RepoDigests []string
	}
	for kind, into := range map[string]any{"containers": &containers, "volumes": &volumes, "networks": &networks,
		"images": &images} {
		if err := json.Unmarshal([]byte(said[kind]), into); err != nil {
			t.Fatalf("host %d: read its %s: %v\n%s", i, kind, err, said[kind])
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
	return out
}

// NothingLeft checks that a host has nothing of raybuild any more, but for the images that it pulled.
func (b *Bed) NothingLeft(t testing.TB, i int) {
	t.Helper()
	now := b.Traces(t, i)
	login := func(file string) bool { return strings.Contains(file, "/.docker") }
	left := Traces{"containers": now["containers"], "volumes": now["volumes"], "packet filters": now["rules"],
		"networks": slices.DeleteFunc(now["networks"], func(s string) bool {
			return s == "bridge" ||
				s == "host" || s == "none"
		}),
		"lock images": slices.DeleteFunc(now["images"],
			func(s string) bool { return !strings.HasPrefix(s, "raybuild-") }),
		"files or logins": slices.DeleteFunc(now["files"], func(s string) bool {
			return !login(s) && !strings.Contains(strings.ToLower(filepath.Base(s)), "ray")
		})}
	for what, names := range left {
		if len(names) > 0 {
			t.Errorf("host %d has %s left: %v", i, what, names)
		}
	}
}
