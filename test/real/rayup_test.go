package real

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

const rayUpVersion = world.RayReal // of the launcher; the image has its own

// TestThreeHosts runs real Ray from PyPI on three hosts: by the real `ray up`, from what `cluster
// export` writes, and by raybuild through faults.
func TestThreeHosts(t *testing.T) {
	image := realImage(t)
	m := needMachines(t)
	image = here.onHosts(image)
	t.Run("ray up takes the export", func(t *testing.T) { m.rayUp(t, image) })
	t.Run("faults are told", func(t *testing.T) { m.faults(t, image) })
}

// rayUp has all three nodes alive by `ray up` alone, and nothing left after `ray down`.
func (m *machines) rayUp(t *testing.T, image string) {
	testneeds.Root(t, "rsync", "python3")
	bin := rayCommand(t)
	m.write(t, "cluster.yaml", m.clusterYAML(image, 3))
	out := m.raybuild(t.Context(), t, "export", "--format", "ray-up")
	if out.code != 0 || strings.Contains(out.stderr, "warning:") {
		t.Fatalf("the export of a cluster whose key is ~/.ssh/id_ed25519 fails or warns: %+v", out)
	}
	m.write(t, "ray-up.yaml", out.stdout)
	ray := func(ctx context.Context, args ...string) string {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "ray"), args...)
		cmd.Dir, cmd.Env = m.home, m.env("TMPDIR="+m.home, "RAY_TMPDIR="+m.home, "RAY_USAGE_STATS_ENABLED=0")
		start := time.Now()
		text, err := cmd.CombinedOutput()
		t.Logf("ray %s: %v after %.1f s", strings.Join(args, " "), err, time.Since(start).Seconds())
		if err != nil {
			t.Errorf("ray %s: %v\n%s", strings.Join(args, " "), err, text)
		}
		return string(text)
	}
	ray(t.Context(), "get-auth-token", "--generate")
	t.Cleanup(func() {
		for i := 1; i <= 3; i++ {
			// it is there when the test fails in between
			_, _ = m.Script("exec", fmt.Sprint(i), "docker", "rm", "-f", "demo")
			m.Must(t, "exec", fmt.Sprint(i), "rm", "-rf", "/tmp/ray_tmp_mount") // which `ray down` leaves on each host
		}
	})
	said := ray(t.Context(), "up", "-y", "--no-config-cache", "ray-up.yaml")
	start := time.Now()
	alive := 0
	if !until(t.Context(), 4*time.Minute, func() bool { alive = m.alive(); return alive == 3 }) {
		status, _ := m.Script("exec", "1", "docker", "exec", "demo", "ray", "status", "-v")
		monitor, _ := m.Script("exec", "1", "docker", "exec", "demo", "sh", "-c",
			"tail -n 40 /tmp/ray/session_latest/logs/monitor.*")
		t.Fatalf("%d of 3 nodes are alive 4 minutes after `ray up`\n%s\n%s\n%s", alive, said, status, monitor)
	}
	t.Logf("3 of 3 nodes alive %.1f s after ray up returned", time.Since(start).Seconds())
	ray(t.Context(), "down", "-y", "ray-up.yaml")
	left := ""
	if !until(t.Context(), time.Minute, func() bool { left = m.containers(t); return left == "" }) {
		t.Errorf("containers are left a minute after `ray down`: %s", left)
	}
}

// alive counts the nodes of the head of `ray up` by its own word.
func (m *machines) alive() int {
	out, _ := m.Script("exec", "1", "docker", "exec", "demo", "sh", "-c", // no answer is one
		`curl -s --max-time 5 -H "Authorization: Bearer $(cat $RAY_AUTH_TOKEN_PATH)" http://127.0.0.1:8265/api/v0/nodes || `+
			`wget -q -T 5 -O - --header "Authorization: Bearer $(cat $RAY_AUTH_TOKEN_PATH)" http://127.0.0.1:8265/api/v0/nodes`)
	return strings.Count(strings.ReplaceAll(out, " ", ""), `"state":"ALIVE"`)
}

// containers are those on all hosts.
func (m *machines) containers(t *testing.T) string {
	var left []string
	for i := 1; i <= 3; i++ {
		if out := strings.Fields(m.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-a", "--format",
			"{{.Names}}")); len(out) > 0 {
			left = append(left, fmt.Sprintf("h%d: %s", i, strings.Join(out, " ")))
		}
	}
	return strings.Join(left, "; ")
}

// rayCommand is the directory of a `ray` from PyPI.
func rayCommand(t *testing.T) string {
	t.Helper()
	return venv(t, "ray-"+rayUpVersion, "ray[default]=="+rayUpVersion)
}
