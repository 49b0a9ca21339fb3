package launcher

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray in every test of this file: a stand-in that listens where Ray does, counts nodes and runs nothing.

// probeEnv makes TestMain's process tell which of the given addresses take a connection.
const probeEnv = "RAYBUILD_TEST_PROBE"

func runProbe(list string) int {
	var mu sync.Mutex
	open := []string{}
	var wg sync.WaitGroup
	for _, addr := range strings.Split(list, ",") {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", addr, 2*time.Second)
			if err == nil {
				c.Close() // it answers
				mu.Lock()
				open = append(open, addr)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(open)
	if err := json.NewEncoder(os.Stdout).Encode(open); err != nil {
		return 1
	}
	return 0
}

// open asks a machine of the hosts' network which addresses answer it: a host, or with 0 one that is no host.
func (b *bed) open(t *testing.T, from int, addrs []string) []string {
	t.Helper()
	self := []string{"env", probeEnv + "=" + strings.Join(addrs, ","), must(os.Executable())}
	where := []string{"outside"}
	if from > 0 {
		where = []string{"exec", fmt.Sprint(from)}
		bin := must(os.ReadFile(must(os.Executable())))
		file := fmt.Sprintf("%s/h%d/home/probe", b.Dir, from) // the host's /root
		if err := os.WriteFile(file, bin, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file) // it was for this call
		self[2] = "/root/probe"
	}
	var out []string
	text := b.Must(t, append(where, self...)...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("read the probe's answer: %v\n%s", err, text)
	}
	return out
}

var listening = regexp.MustCompile(`\s(\S+):(\d+)\s+\S+:\*`)

// rayPorts lists every port of a host on which something of Ray listens to more than loopback, and
// those on which a worker process may. sshd is the only other thing that listens there.
func (b *bed) rayPorts(t *testing.T, i int, n cluster.Node) []int {
	t.Helper()
	p := n.Ports
	ports := []int{10001, p.GCS, p.Dashboard, p.Client, p.NodeManager, p.ObjectManager, p.RuntimeEnvAgent, p.AgentGRPC,
		p.AgentListen, p.Metrics, p.WorkerMin, p.WorkerMax}
	for _, m := range listening.FindAllStringSubmatch(b.Must(t, "exec", fmt.Sprint(i), "ss", "-Hltn"), -1) {
		if p := must(strconv.Atoi(m[2])); p != 22 && !strings.HasPrefix(m[1], "127.") {
			ports = append(ports, p)
		}
	}
	slices.Sort(ports)
	return slices.DeleteFunc(slices.Compact(ports), func(p int) bool { return p == 0 })
}

func (b *bed) at(i int, ports []int) []string {
	var out []string
	for _, p := range ports {
		out = append(out, net.JoinHostPort(b.Addr(i), strconv.Itoa(p)))
	}
	return out
}

func TestFilterClosesRayToOutsiders(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "shut")
	spec := b.Spec(t, "shut", b.image, "filter: true\n", 2)
	s, err := cluster.Up(t.Context(), spec, b.Options(t))
	if err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	nodes := []cluster.Node{spec.Head, spec.Workers[0]}
	for i := 1; i <= 2; i++ {
		all := b.at(i, b.rayPorts(t, i, nodes[i-1]))
		if open := b.open(t, 0, all); len(open) > 0 {
			t.Errorf("an outsider reaches %v", open)
		}
		// The same probe from a member, or it would show nothing. The dashboard is on loopback.
		open := b.open(t, 3-i, all)
		t.Logf("host %d: %d ports probed, %d answer a member, 0 an outsider: %v", i, len(all), len(open), all)
		if want := map[int]int{1: 11, 2: 9}[i]; len(open) != want {
			t.Errorf("a member reaches %d of host %d's ports, want %d: %v", len(open), i, want, open)
		}
		if open := b.open(t, 0, b.at(i, []int{22})); len(open) != 1 {
			t.Errorf("the filter closes what is not Ray's: ssh of host %d", i)
		}
	}
	if s, err = cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("again: %v\n%s", err, s)
	}
	b.Must(t, "exec", "2", "docker", "stop", "raybuild-filter-shut") // it would put the table back
	b.Must(t, "exec", "2", "nft", "delete", "table", "inet", "raybuild-shut")
	p, err := cluster.MakePlan(t.Context(), spec, b.Options(t))
	if err != nil || p.Changes != 1 || len(p.Filters) != 1 {
		t.Errorf("a filter that was deleted: %+v, %v", p, err)
	}
	if s, err = cluster.Inspect(t.Context(), spec, b.Options(t)); err != nil ||
		s.Healthy || len(s.Drift) != 1 || s.Drift[0].Node != "packet filter" {
		t.Errorf("status does not show that a filter was deleted: %v\n%s", err, s)
	}
	if s, err = cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 1 || !s.Healthy {
		t.Errorf("mended: %v\n%s", err, s)
	}
	// The filters that are there do not know the new member.
	if s, err = cluster.Up(t.Context(), b.Spec(t, "shut", b.image, "filter: true\n", 2, 3), b.Options(t)); err != nil ||
		s.Alive != 3 || !s.Healthy {
		t.Errorf("with a worker more: %v\n%s", err, s)
	}
}

// TestPublicAddressIsRefusedAndProbed gives the head's host an address that the world has. The
// launcher that goes on all the same is a machine outside, which tries Ray's ports there once the
// cluster is up.
func TestPublicAddressIsRefusedAndProbed(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "public")
	const public = "203.0.113.11"
	b.Must(t, "exec", "1", "ip", "addr", "add", public+"/32", "dev", "eth0")
	b.Must(t, "outside", "ip", "route", "replace", public+"/32", "via", b.Addr(1))
	t.Cleanup(func() {
		b.Must(t, "exec", "1", "ip", "addr", "del", public+"/32", "dev", "eth0")
		b.Must(t, "outside", "ip", "route", "del", public+"/32")
	})
	spec := b.Spec(t, "public", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err == nil ||
		!strings.Contains(err.Error(), "has the public address "+public) {
		t.Errorf("unasked: %v", err)
	}
	if out := b.Must(t, "exec", "1", "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("something was started: %s", out)
	}
	up := func(more string) (string, error) {
		cmd := b.launcher(t, "public", b.image, more)
		out, err := b.Script(append([]string{"outside", "env", cmd.Env[len(cmd.Env)-1]}, cmd.Args...)...)
		t.Logf("%s%s%v", more, out, err)
		return out, err
	}
	if out, err := up("allow_public: [" + public + "]\n"); err == nil || !strings.Contains(out, "EXPOSED: ") ||
		!strings.Contains(out, public+":6379 (public-head gcs)") {
		t.Errorf("with leave, and no filter: %v: the launcher does not say that Ray answers there", err)
	}
	b.outsidersNeedTheToken(t, spec)
	if out, err := up("filter: true\n"); err != nil || strings.Contains(out, "EXPOSED") {
		t.Errorf("with a filter: %v", err)
	}
}

// outsidersNeedTheToken calls a head whose ports are open to all.
func (b *bed) outsidersNeedTheToken(t *testing.T, spec *cluster.Spec) {
	t.Helper()
	if open := b.open(t, 0, b.at(1, b.rayPorts(t, 1, spec.Head))); len(open) != 11 {
		t.Errorf("without a filter an outsider should reach 11 ports of the head, or the filter's test "+
			"shows nothing: %v", open)
	}
	for what, args := range map[string][]string{"no token": nil,
		"a wrong token": {"-H", "Authorization: Bearer " + strings.Repeat("0", 64)}} {
		argv := append([]string{"outside", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5",
			"-X", "POST", "-d", "{}"}, args...)
		out := b.Must(t, append(argv, fmt.Sprintf("http://%s:6379/beat?first=1", b.Addr(1)))...)
		if out != fmt.Sprint(http.StatusUnauthorized) && out != fmt.Sprint(http.StatusForbidden) {
			t.Errorf("%s: the answer is %s", what, out)
		}
	}
	if out, err := b.Script("outside", "curl", "-s", "--max-time", "3",
		fmt.Sprintf("http://%s:8265/", b.Addr(1))); err == nil {
		t.Errorf("the dashboard answers outside: %s", out)
	}
}
