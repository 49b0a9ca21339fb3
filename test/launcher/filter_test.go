package launcher

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray in every test of this file: a stand-in that listens where Ray does.

// knock tries a port again and again for some seconds, and prints how often it was let in.
const knock = `import socket, sys, time
end, open, tries = time.time() + float(sys.argv[3]), 0, 0
while time.time() < end:
    tries += 1
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.1).close()
        open += 1
    except OSError:
        time.sleep(0.02)
print(open, "of", tries)`

// linger connects, waits for some seconds, and says whether the other side still answers.
const linger = `import socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
time.sleep(float(sys.argv[3]))
c.settimeout(3)
try:
    c.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print("answered" if c.recv(1) else "closed")
except OSError:
    print("silent")`

// healthy waits until a cluster is as it should be.
func (b *bed) healthy(t *testing.T, spec *cluster.Spec) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		s, err := cluster.Inspect(t.Context(), spec, b.Reach())
		if err != nil {
			t.Fatal(err)
		}
		if s.Healthy {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not healthy after a minute:\n%s", s)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// tableBack waits until a host has a cluster's filter again.
func (b *bed) tableBack(t *testing.T, i int, table string) {
	t.Helper()
	start := time.Now()
	for time.Since(start) < 3*time.Second {
		if _, err := b.Script("exec", fmt.Sprint(i), "nft", "list", "table", "inet", table); err == nil {
			t.Logf("the filter is back after %s", time.Since(start))
			return
		}
	}
	t.Errorf("host %d: the filter does not come back", i)
}

func TestH6FilterComesBeforeRay(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "wall")
	spec := b.Spec(t, "wall", b.image, "filter: true\n", 2)
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	gcs := b.at(1, []int{spec.Head.Ports.GCS})
	for _, gone := range []string{"nft delete table inet raybuild-wall", "nft flush ruleset"} {
		b.Must(t, "exec", "1", "sh", "-c", gone)
		b.tableBack(t, 1, "raybuild-wall")
		if open := b.open(t, 0, gcs); len(open) > 0 {
			t.Errorf("after %s an outsider reaches %v", gone, open)
		}
	}
	// As after a reboot: no container, no table, and Docker starts.
	b.Must(t, "dockerd", "1", "TERM")
	b.Must(t, "exec", "1", "sh", "-c", "while kill -0 $(cat /run/docker.pid); do sleep 0.1; done 2>/dev/null; "+
		"nft delete table inet raybuild-wall")
	knocked := make(chan string)
	go func() {
		out, _ := b.Script("outside", "python3", "-c", knock, b.Addr(1), fmt.Sprint(spec.Head.Ports.GCS), "20")
		knocked <- out
	}()
	b.Must(t, "boot", "1")
	b.healthy(t, spec)
	if out := <-knocked; !strings.HasPrefix(out, "0 of ") || strings.HasPrefix(out, "0 of 0") {
		t.Errorf("while Docker started, an outsider was let in %s", out)
	}
	// Whoever comes in while the filter is away does not stay.
	b.Must(t, "exec", "1", "sh", "-c", "docker stop raybuild-filter-wall && nft delete table inet raybuild-wall")
	came := make(chan string)
	go func() {
		out, _ := b.Script("outside", "python3", "-c", linger, b.Addr(1), fmt.Sprint(spec.Head.Ports.GCS), "5")
		came <- out
	}()
	time.Sleep(time.Second)
	b.Must(t, "exec", "1", "docker", "start", "raybuild-filter-wall")
	if out := <-came; strings.TrimSpace(out) != "silent" {
		t.Errorf("a connection of the time without a filter: %s", out)
	}
	// Nobody keeps the filter: no Ray.
	b.Must(t, "exec", "1", "sh", "-c", "docker stop raybuild-filter-wall && nft delete table inet raybuild-wall && "+
		"docker restart -t 1 wall-head")
	time.Sleep(3 * time.Second)
	if out := b.Must(t, "exec", "1", "ss", "-Hltn", "sport", "=", ":6379"); strings.TrimSpace(out) != "" {
		t.Errorf("Ray runs without a filter: %s", out)
	}
	b.Must(t, "exec", "1", "docker", "start", "raybuild-filter-wall")
	b.healthy(t, spec)
	if open := b.open(t, 0, gcs); len(open) > 0 {
		t.Errorf("afterwards an outsider reaches %v", open)
	}
}

// serve starts a program on a host that listens on a port.
func (b *bed) serve(t *testing.T, i, port int) {
	t.Helper()
	b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", fmt.Sprintf("cd / && setsid python3 -m http.server --bind :: %d "+
		">/dev/null 2>&1 </dev/null & until ss -Hltn 'sport = :%[1]d' | grep -q .; do sleep 0.1; done", port))
	t.Cleanup(func() { b.Must(t, "exec", fmt.Sprint(i), "pkill", "-f", fmt.Sprintf("http.server --bind :: %d", port)) })
}

// TestM10FilterIsAnAllowList has a service that was there before the cluster, and ports that user code opens later.
func TestM10FilterIsAnAllowList(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "list")
	b.Must(t, "exec", "1", "ip", "-6", "addr", "add", "fd07::11/64", "dev", "eth0", "nodad")
	b.Must(t, "outside", "ip", "-6", "addr", "add", "fd07::99/64", "dev", "eth0", "nodad")
	t.Cleanup(func() {
		b.Must(t, "exec", "1", "ip", "-6", "addr", "del", "fd07::11/64", "dev", "eth0")
		b.Must(t, "outside", "ip", "-6", "addr", "del", "fd07::99/64", "dev", "eth0")
	})
	b.serve(t, 1, 9999)
	text := b.Text("list", b.image, "filter: true\n", 2)
	load := func(text string) *cluster.Spec { return must(cluster.Load("cluster.yaml", []byte(text))) }
	if s, err := cluster.Up(t.Context(), load(text), b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	later := []int{23456, 44217, 44227, 8000, 23000}
	for _, p := range later {
		b.serve(t, 1, p)
	}
	v6 := func(ports ...int) []string {
		var out []string
		for _, p := range ports {
			out = append(out, net.JoinHostPort("fd07::11", fmt.Sprint(p)))
		}
		return out
	}
	all := append(b.at(1, later), v6(later...)...)
	if open := b.open(t, 0, all); len(open) > 0 {
		t.Errorf("an outsider reaches %v", open)
	}
	if open := b.open(t, 2, b.at(1, later)); len(open) != len(later) {
		t.Errorf("a member reaches only %v of %v", open, later)
	}
	kept := append(b.at(1, []int{22, 9999}), v6(9999)...)
	if open := b.open(t, 0, kept); len(open) != len(kept) {
		t.Errorf("of what was open before the cluster came an outsider reaches %v, want %v", open, kept)
	}
	// An answer to what the host asks for comes through, and what a member or the file names.
	b.serve(t, 3, 7777)
	b.Must(t, "exec", "1", "curl", "-sf", "--max-time", "3", "-o", "/dev/null", "http://"+b.Addr(3)+":7777/")
	if s, err := cluster.Up(t.Context(), load(text+"allow: [8000, 23000-23010]\n"), b.Options(t)); err != nil ||
		s.Changed != 2 {
		t.Fatalf("with allow: %v\n%s", err, s)
	}
	want := append(b.at(1, []int{23000, 8000}), v6(23000, 8000)...)
	if open := b.open(t, 0, append(all, kept...)); len(open) != len(want)+len(kept) {
		t.Errorf("with allow an outsider reaches %v, want %v and %v", open, want, kept)
	}
	outsider := b.Net + ".99"
	if s, err := cluster.Up(t.Context(), load(text+"allow: ["+outsider+"/32]\n"), b.Options(t)); err != nil {
		t.Fatalf("with the outsider's address: %v\n%s", err, s)
	}
	if open := b.open(t, 0, b.at(1, later)); len(open) != len(later) {
		t.Errorf("who is named reaches only %v", open)
	}
	text = strings.Replace(text, "filter: true\n", "", 1)
	if s, err := cluster.Up(t.Context(), load(text), b.Options(t)); err != nil {
		t.Fatalf("without the filter: %v\n%s", err, s)
	}
	if out := b.Must(t, "exec", "1", "nft", "list", "tables"); strings.Contains(out, "raybuild-list") {
		t.Errorf("the filter is still there:\n%s", out)
	}
}

// TestL17NodesAreConfined looks at what the Engine lets a node do.
func TestL17NodesAreConfined(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "confined")
	spec := b.Spec(t, "confined", b.image, "")
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	out := b.Must(t, "exec", "1", "docker", "inspect", "-f",
		"{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.PidsLimit}}", spec.Head.ID)
	for _, want := range []string{"NET_RAW", "MKNOD", "no-new-privileges", "65536"} {
		if !strings.Contains(out, want) {
			t.Errorf("the node has not %s: %s", want, out)
		}
	}
	pid := strings.TrimSpace(b.Must(t, "exec", "1", "docker", "inspect", "-f", "{{.State.Pid}}", spec.Head.ID))
	bounds := strings.Fields(b.Must(t, "exec", "1", "grep", "CapBnd", "/proc/"+pid+"/status"))
	caps, err := strconv.ParseUint(bounds[len(bounds)-1], 16, 64)
	const netRaw = 13 // Linux include/uapi/linux/capability.h
	if err != nil || caps&(1<<netRaw) != 0 {
		t.Errorf("the node may read the host's packets: %v, %v", bounds, err)
	}
}

// TestReadOnlyNodeRuns runs a node that may not write to its image: it is healthy, and what it may write is gone with
// it.
func TestReadOnlyNodeRuns(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "sealed")
	spec := b.Spec(t, "sealed", b.image, "read_only: true\n")
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("a second up changes %d things: %v", s.Changed, err)
	}
	root := b.Must(t, "exec", "1", "docker", "inspect", "-f",
		"{{.HostConfig.ReadonlyRootfs}} {{range .Mounts}}{{.Type}}:{{.Destination}}:{{.RW}} {{end}}", spec.Head.ID)
	for _, want := range []string{"true ", "volume:/tmp:true", "volume:/var/tmp:true", "volume:/run:true"} {
		if !strings.Contains(root, want) {
			t.Errorf("the node has not %q: %s", want, root)
		}
	}
	if _, err := cluster.Down(t.Context(), "sealed", spec.Hosts(), b.Options(t)); err != nil {
		t.Fatal(err)
	}
	if left := strings.TrimSpace(b.Must(t, "exec", "1", "docker", "volume", "ls", "-q")); left != "" {
		t.Errorf("volumes are left: %s", left)
	}
}
