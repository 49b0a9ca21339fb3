package real

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// faults lets things happen to a cluster of three hosts, and reads what raybuild says of them.
func (m *machines) faults(t *testing.T, image string) {
	m.write(t, "cluster.yaml", m.clusterYAML(image, 3)+"filter: true\n")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if s := m.raybuild(ctx, t, "down"); s.code != 0 {
			t.Error("down fails")
		}
		if left := m.containers(t); left != "" {
			t.Errorf("containers are left after down: %s", left)
		}
	})
	if s := m.raybuild(t.Context(), t, "up", "--wait", "5m"); s.code != 0 ||
		!strings.Contains(s.stderr, "3 nodes alive") {
		t.Fatal("up does not end with 3 nodes alive")
	}
	t.Run("the filter shuts every port of Ray", m.nothingOpen)
	t.Run("a job is lost with its head", m.killHeadUnderAJob)
	t.Run("a worker's host is off", m.workerOff)
}

// nothingOpen tries from a machine that is no member all ports on which anything listens on the hosts, but sshd's.
func (m *machines) nothingOpen(t *testing.T) {
	for i := 1; i <= 3; i++ {
		ports := strings.Fields(m.Must(t, "exec", fmt.Sprint(i), "sh", "-c",
			`ss -Hltn | awk '$4 !~ /^127[.]|^\[::1\]/ {sub(/.*:/, "", $4); if ($4 != 22) print $4}' | sort -nu`))
		if len(ports) < 5 {
			t.Errorf("host %d listens on %v alone", i, ports)
		}
		open := m.Must(t, append([]string{"outside", "bash", "-c",
			`for p in "${@:2}"; do (timeout 2 bash -c ": </dev/tcp/$1/$p" 2>/dev/null && echo "$p") & done; wait`,
			"bash", m.Addr(i)}, ports...)...)
		if open != "" {
			t.Errorf("host %d: of %v an outsider reaches %s", i, ports, strings.Join(strings.Fields(open), ", "))
		}
	}
}

func (m *machines) killHeadUnderAJob(t *testing.T) {
	done := make(chan said, 1)
	go func() {
		done <- m.raybuild(t.Context(), t, "submit", "--id", "long", "--", "python", "-c",
			"import time; print('begun', flush=True); time.sleep(600)")
	}()
	if !until(t.Context(), 2*time.Minute, func() bool {
		out, err := m.Script("exec", "1", "pgrep", "-fc", "time.sleep[(]600[)]")
		return err == nil && strings.TrimSpace(out) != "0"
	}) {
		t.Fatal("the job does not begin")
	}
	m.Must(t, "exec", "1", "sh", "-c", "kill -KILL $(docker inspect -f '{{.State.Pid}}' demo-head)")
	select {
	case s := <-done:
		if s.code != 1 || !strings.Contains(s.stderr, "the job was lost, because the head") ||
			strings.Contains(s.stderr, "goes on") {
			t.Error("submit does not say that the job was lost, because the head, with exit code 1")
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("submit goes on 2 minutes after the head was killed")
	}
	if s := m.raybuild(t.Context(), t, "up", "--wait", "5m"); s.code != 0 ||
		!strings.Contains(s.stderr, "3 nodes alive") {
		t.Error("up does not bring all three nodes back")
	}
}

// workerOff looks at a cluster whose third host has gone: Ray counts its node alive for a while.
func (m *machines) workerOff(t *testing.T) {
	m.Must(t, "off", "3")
	t.Cleanup(func() { m.Must(t, "boot", "3") })
	s := m.raybuild(t.Context(), t, "status")
	if s.code != 1 || strings.Contains(s.stdout, "is alive and not in cluster.yaml") {
		t.Error("status takes the node of the host that is off for a stranger's")
	}
	if want := "host unreachable: "; strings.Count(s.stdout, want) != 1 ||
		!strings.Contains(s.stdout, "Ray counts it alive until its time-out") {
		t.Errorf("status does not say in one line that the host is unreachable and Ray still counts it")
	}
	s = m.raybuild(t.Context(), t, "up", "--skip-unreachable", "--min-workers", "1", "--wait", "2m")
	if verdict := "up without 1 node"; s.code != 0 || !strings.Contains(s.stderr, verdict) ||
		!strings.Contains(s.stdout, verdict) ||
		strings.Contains(s.stderr+s.stdout, "up to date") || strings.Contains(s.stdout, "NOT as wanted") {
		t.Errorf("up without a host that may be skipped has more than one verdict, or another than %q", verdict)
	}
	m.Must(t, "exec", "2", "sh", "-c", fmt.Sprintf("docker kill demo-w-%s", strings.ReplaceAll(m.Addr(2), ".", "-")))
	s = m.raybuild(t.Context(), t, "status")
	if !strings.Contains(s.stdout, "exit code 137, which is SIGKILL") {
		t.Error("status does not say that the container was killed")
	}
}
