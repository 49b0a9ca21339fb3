package launcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	hosts "github.com/raybuild/raybuild/test/bed"
)

// noConnections waits until nobody is connected to a host's sshd: the Engine's and the tunnels'
// connections are one of these.
func (b *bed) noConnections(t testing.TB, i int) {
	t.Helper()
	end := time.Now().Add(15 * time.Second)
	for {
		out := strings.TrimSpace(b.Must(t, "exec", fmt.Sprint(i), "sh", "-c",
			"ss -Htnp state established sport = :22 || exit; pgrep -fa '^sshd(-session)?: root' || [ $? = 1 ]"))
		if out == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("host %d still has SSH connections:\n%s", i, out)
			return
		}
	}
}

// onlyTheNode checks that of a cluster that is up a host has its node, its token, its packet filter and the filter's
// guard, and nothing else than before.
func (b *bed) onlyTheNode(t testing.TB, i int, cluster string, before hosts.Traces) {
	t.Helper()
	now := b.Traces(t, i)
	want := hosts.Traces{"containers": {cluster + "-"},
		"volumes":  {"raybuild-" + cluster + "-auth", "raybuild-" + cluster + "-filter"},
		"rules":    {"table inet raybuild-" + cluster},
		"networks": before["networks"], "files": before["files"], "processes": nil}
	if guard := "raybuild-filter-" + cluster; len(now["containers"]) == 2 && now["containers"][1] == guard &&
		strings.HasPrefix(now["containers"][0], cluster+"-") {
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
