package launcher

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/cluster"
)

// TestCase20NodeHasItsDevices looks at what real nodes have: a device, a group and limits.
func TestCase20NodeHasItsDevices(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "devices")
	spec := b.Spec(t, "devices", b.image, "devices: [\"/dev/fuse:/dev/fuse-here:rw\"]\ncap_add: [IPC_LOCK]\n"+
		"group_add: [\"4321\"]\nulimits: {memlock: -1}\n")
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("%v\n%s", err, s)
	}
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("a second up changes %d things: %v", s.Changed, err)
	}
	// Machines of tests may not raise limits, so what the Engine was asked for is looked at.
	limits := b.Must(t, "exec", "1", "docker", "inspect", "-f", "{{json .HostConfig.Ulimits}}", spec.Head.ID)
	for _, want := range []string{`"Name":"memlock","Hard":-1,"Soft":-1`, `"Name":"nofile","Hard":65536,"Soft":65536`} {
		if !strings.Contains(limits, want) {
			t.Errorf("the node's limits are %s, want %s", limits, want)
		}
	}
	pid := strings.TrimSpace(b.Must(t, "exec", "1", "docker", "inspect", "-f", "{{.State.Pid}}", spec.Head.ID))
	if groups := b.Must(t, "exec", "1", "grep", "Groups", "/proc/"+pid+"/status"); !strings.Contains(groups, "4321") {
		t.Errorf("the node's groups are %s", groups)
	}
	b.Must(t, "exec", "1", "test", "-c", "/proc/"+pid+"/root/dev/fuse-here")
}

// TestCase27GPUsWithoutARuntime asks Engines for GPUs that they cannot give. They are asked, because an Engine may give
// GPUs and list no runtime for them, and each of two nodes of a host is given another one.
func TestCase27GPUsWithoutARuntime(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "gpus")
	spec := b.Spec(t, "gpus", b.image, "share_hosts: true\nnum_gpus: 2\n"+
		"workers: [{hosts: [\"root@"+b.Addr(1)+"\"], nodes_per_host: 2}]\n")
	s, err := cluster.Up(t.Context(), spec, b.Options(t))
	if err == nil || !strings.Contains(err.Error(), "nvidia-ctk runtime configure --runtime=docker") {
		t.Errorf("the error is %v\n%s", err, s)
	}
	asked := 0
	for n, node := range spec.Nodes() {
		got, err := b.Script("exec", "1", "docker", "inspect", "-f",
			"{{range .HostConfig.DeviceRequests}}{{json .DeviceIDs}}{{end}}", node.ID)
		if err != nil {
			continue // `up` had given up before
		}
		asked++
		if want := fmt.Sprintf(`["%d","%d"]`, 2*n, 2*n+1); strings.TrimSpace(got) != want {
			t.Errorf("node %s asks for the GPUs %s, want %s", node.ID, got, want)
		}
	}
	if asked == 0 {
		t.Error("no node asked for GPUs")
	}
}
