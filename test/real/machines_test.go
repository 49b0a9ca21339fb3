package real

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/test/bed"
)

// machines are the hosts as they are for somebody with a home directory, whose SSH key they take.
type machines struct {
	*bed.Bed
	home    string
	program string // raybuild
}

func needMachines(t *testing.T) *machines {
	t.Helper()
	hosts := needHosts(t)
	return &machines{Bed: hosts, home: hosts.Home(t, "id_ed25519", "known_hosts"), program: here.program}
}

// env is that of somebody who works in m.home.
func (m *machines) env(more ...string) []string {
	return append([]string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, more...)
}

// said is what a program printed and how it ended.
type said struct {
	stdout, stderr string
	code           int
}

// raybuild runs `raybuild cluster ARGS` in m.home, where cluster.yaml is.
func (m *machines) raybuild(ctx context.Context, t *testing.T, args ...string) said {
	t.Helper()
	cmd := exec.CommandContext(ctx, m.program,
		append([]string{"cluster", "--insecure-registry", m.Registry}, args...)...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.home, m.env(), &out, &errs
	start := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	s := said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	t.Logf("raybuild cluster %s: exit code %d after %.1f s\n%s%s", strings.Join(args, " "), s.code,
		time.Since(start).Seconds(), s.stderr, s.stdout)
	if strings.ContainsRune(s.stderr+s.stdout, 0x1b) {
		t.Errorf("raybuild cluster %s prints escape codes: %q", strings.Join(args, " "), s.stderr+s.stdout)
	}
	return s
}

// write writes a file of m.home.
func (m *machines) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.home, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// clusterYAML is a cluster named demo of n hosts.
func (m *machines) clusterYAML(image string, n int) string {
	text := fmt.Sprintf("name: demo\nimage: %s\nhead: {host: root@%s, num_cpus: 1}\nnum_cpus: 1\n"+
		"shm_size: 256m\n", image, m.Addr(1))
	var hosts []string
	for i := 2; i <= n; i++ {
		hosts = append(hosts, "root@"+m.Addr(i))
	}
	if len(hosts) > 0 {
		text += "workers: [{hosts: [" + strings.Join(hosts, ", ") + "]}]\n"
	}
	return text
}

// until polls f, and gives up after limit.
func until(ctx context.Context, limit time.Duration, f func() bool) bool {
	end := time.Now().Add(limit)
	for !f() {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return true
}
