package launcher

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray here: a stand-in that counts nodes and runs nothing.
func TestThreeHostsComeUpStayAndGo(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "demo")
	spec := b.Spec(t, "demo", b.image, "", 2, 3)

	plan, err := cluster.MakePlan(t.Context(), spec, b.Options(t))
	if err != nil || plan.Changes != 3 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	var output strings.Builder
	o := b.Options(t)
	o.Log = io.MultiWriter(o.Log, &output)
	watched := b.watchProcesses(t)
	start := time.Now()
	s, err := cluster.Up(t.Context(), spec, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("cold up: %s\n%s", time.Since(start), s)
	if !s.Healthy || s.Alive != 3 || s.Changed != 3 {
		t.Errorf("got %+v", s)
	}
	start = time.Now()
	if s, err = cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 || !s.Healthy {
		t.Fatalf("second up: %+v, %v", s, err)
	}
	t.Logf("no-op up: %s", time.Since(start))
	if plan, err = cluster.MakePlan(t.Context(), spec, b.Options(t)); err != nil || plan.Changes != 0 {
		t.Errorf("plan after up: %+v, %v", plan, err)
	}
	b.tokenIsSecret(t, "demo", watched(), output.String())
	moved := b.Spec(t, "demo", b.moved, "", 2, 3)
	plan, err = cluster.MakePlan(t.Context(), moved, b.Options(t))
	if err != nil || plan.Changes != 3 || !strings.Contains(plan.String(), "image changed") {
		t.Fatalf("plan of a new image: %s, %v", plan, err)
	}
	if s, err = cluster.Up(t.Context(), moved, b.Options(t)); err != nil || !s.Healthy {
		t.Fatalf("up with a new image: %+v, %v", s, err)
	}
	if s, err = cluster.Scale(t.Context(), moved, 1, b.Options(t)); err != nil || !s.Healthy || s.Alive != 2 {
		t.Fatalf("scale to one worker: %v\n%s", err, s)
	}
	if out := b.Must(t, "exec", "3", "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
		t.Errorf("host 3 still has the worker that was scaled away: %s", out)
	}
	if _, err = cluster.Scale(t.Context(), moved, 3, b.Options(t)); err == nil ||
		!strings.Contains(err.Error(), "names 2; add hosts there") {
		t.Errorf("scale to more workers than there are: %v", err)
	}
}

// watchProcesses records every process's arguments and environment on all hosts until the function
// that it returns is called, which returns the records' files.
func (b *bed) watchProcesses(t *testing.T) func() []string {
	dir := t.TempDir()
	var files []string
	var stops []func()
	for i := 1; i <= b.Hosts; i++ {
		file := filepath.Join(dir, fmt.Sprint(i))
		w, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("../hosts.sh", "exec", fmt.Sprint(i), "sh", "-c",
			"while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; sleep 0.1; done")
		cmd.Env, cmd.Stdout = b.Env(), w
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := sync.OnceFunc(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it is there: it was not waited for
			_ = cmd.Wait()                                      // it was killed
			w.Close()                                           // what is in it was written by another process
		})
		t.Cleanup(stop)
		files, stops = append(files, file), append(stops, stop)
	}
	return func() []string {
		for _, stop := range stops {
			stop()
		}
		return files
	}
}

// tokenIsSecret looks for a cluster's token wherever others can read: docker inspect of everything,
// processes as they were while the cluster came up and as they are, logs of containers, Engine and
// sshd, and what the launcher said.
func (b *bed) tokenIsSecret(t *testing.T, name string, records []string, output string) {
	t.Helper()
	token := strings.TrimSpace(b.Must(t, "exec", "1", "cat", "/var/lib/docker/volumes/raybuild-"+
		name+"-auth/_data/token"))
	if len(token) != 64 {
		t.Fatalf("token %q", token)
	}
	if strings.Contains(output, token) {
		t.Error("the launcher tells the token")
	}
	for i := 1; i <= b.Hosts; i++ {
		for what, command := range map[string]string{
			"docker inspect": "docker inspect $(docker ps -aq; docker volume ls -q; docker network ls -q; docker " +
				"image ls -aq)",
			"processes": "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true",
			"logs": "for c in $(docker ps -aq); do docker logs $c 2>&1; done; find /var/log -type f " +
				"-exec cat {} +",
		} {
			out := b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", command)
			if strings.TrimSpace(out) == "" {
				t.Errorf("host %d shows no %s at all", i, what)
			}
			if strings.Contains(out, token) {
				t.Errorf("host %d: the token shows in %s", i, what)
			}
		}
		for what, file := range map[string]string{"a process while it came up": records[i-1],
			"the Engine's log": filepath.Join(b.Dir, fmt.Sprintf("h%d/dockerd.log", i))} {
			data, err := os.ReadFile(file)
			if err != nil || len(data) == 0 {
				t.Errorf("host %d: %s: %d bytes, %v", i, what, len(data), err)
			}
			if bytes.Contains(data, []byte(token)) {
				t.Errorf("host %d: the token shows in %s", i, what)
			}
		}
	}
}

// programOnHost puts raybuild into the home directory of root on the first host, until the test
// ends; so goes the cluster.yaml that the test writes beside it.
func (b *bed) programOnHost(t *testing.T) string {
	t.Helper()
	home := filepath.Join(b.Dir, "h1/home") // the host's /root
	if err := os.WriteFile(filepath.Join(home, "raybuild"), must(os.ReadFile(buildProgram(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, file := range []string{"raybuild", "cluster.yaml"} {
			if err := os.Remove(filepath.Join(home, file)); err != nil {
				t.Error(err)
			}
		}
	})
	return home
}

// TestClusterOnThisMachine types the commands of one who has no other machine: the launcher runs on
// the host whose Engine it uses.
func TestClusterOnThisMachine(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "demo")
	b.programOnHost(t)
	for _, tt := range []struct{ command, want string }{
		{"init --image " + b.image, "wrote cluster.yaml; next: raybuild cluster up"},
		{"up", "cluster demo is up: 1 node alive, 1 change"},
		{"up", "cluster demo is up to date: 1 node alive, nothing changed"},
		{"status", "demo-head"},
		{"exec -- ray --version", "ray, version 2.52.0"},
		{"down", "cluster demo is down: 1 container and 1 volume removed"},
	} {
		out := b.Must(t, "exec", "1", "sh", "-c", "cd /root && HOME=/root ./raybuild cluster --insecure-registry "+
			b.Registry+" "+tt.command+" 2>&1")
		t.Logf("raybuild cluster %s\n%s", tt.command, out)
		if !strings.Contains(out, tt.want) {
			t.Errorf("raybuild cluster %s does not say %q", tt.command, tt.want)
		}
	}
}
