package launcher

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray in every test of this file: a stand-in that counts nodes and runs nothing.

// user is somebody with a directory of their own who uses the program on the bed's hosts.
type user struct {
	b   *bed
	dir string
}

func (b *bed) user(t *testing.T, cluster, image, more string, workers ...int) user {
	t.Helper()
	u := user{b, t.TempDir()}
	u.write(t, b.Text(cluster, image, more, workers...))
	return u
}

func (u user) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, "cluster.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cluster runs `raybuild cluster …` and returns what it printed, and its exit code.
func (u user) cluster(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), buildProgram(t), append([]string{"cluster", "--ssh-config", "none",
		"--known-hosts", filepath.Join(u.b.Dir, "known_hosts"), "--identity", filepath.Join(u.b.Dir, "id_ed25519"),
		"--insecure-registry", u.b.Registry}, args...)...)
	cmd.Dir = u.dir
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	t.Logf("raybuild cluster %s: exit code %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), out)
	return string(out), cmd.ProcessState.ExitCode()
}

// held lists a host's containers with their IDs and since when they run, and its volumes.
func (b *bed) held(t *testing.T) string {
	return b.Must(t, "exec", "1", "sh", "-c", "docker ps -aq --no-trunc | sort | "+
		"xargs docker inspect -f '{{.Id}} {{.Name}} {{.State.StartedAt}}'; docker volume ls -q")
}

// TestH7TwoUsersOfOneName has two people who both call their cluster demo, on one host.
func TestH7TwoUsersOfOneName(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "demo")
	alice, bob := b.user(t, "demo", b.image, "filter: true\n"), b.user(t, "demo", b.moved, "filter: true\n")
	if _, code := alice.cluster(t, "up"); code != 0 {
		t.Fatal("the first up fails")
	}
	data, err := os.ReadFile(filepath.Join(alice.dir, "cluster.id"))
	id := strings.TrimSpace(string(data))
	id = id[strings.LastIndexByte(id, '\n')+1:]
	if err != nil || !cluster.ValidID(id) {
		t.Errorf("up wrote the id %q, %v", id, err)
	}
	before := b.held(t)
	for _, args := range [][]string{{"up"}, {"scale", "0"}, {"down"}, {"exec", "--", "ray", "--version"},
		{"down", "--name", "demo", "--host", "root@" + b.Addr(1)}} {
		out, code := bob.cluster(t, args...)
		for _, want := range []string{id, "demo-head", b.Addr(1), "--take-over"} {
			if code != 1 || !strings.Contains(out, want) {
				t.Errorf("%v: exit code %d, and it does not say %q", args, code, want)
			}
		}
	}
	if now := b.held(t); now != before {
		t.Errorf("something was changed:\n%s\nwas\n%s", now, before)
	}
	if out, code := bob.cluster(t, "status"); code != 1 || !strings.Contains(out, "another's: ") {
		t.Error("status does not say that the cluster is another's")
	}
	if out, code := bob.cluster(t, "logs"); code != 0 || !strings.Contains(out, "belongs to id "+id) {
		t.Error("logs does not say that the cluster is another's")
	}
	if out, code := alice.cluster(t, "up"); code != 0 || !strings.Contains(out, "nothing changed") {
		t.Error("the owner's up")
	}
	if _, code := bob.cluster(t, "up", "--take-over"); code != 0 {
		t.Error("up --take-over fails")
	}
	if out, code := alice.cluster(t, "down"); code != 1 || !strings.Contains(out, "--take-over") {
		t.Error("the owner before may still remove it")
	}
	if _, code := bob.cluster(t, "down"); code != 0 {
		t.Error("the new owner's down")
	}
	b.NothingLeft(t, 1)
}

// TestH7LabelsOfAnImage has a container of somebody else whose image brings raybuild's labels, as after docker commit.
func TestH7LabelsOfAnImage(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "labels")
	u := b.user(t, "labels", b.image, "")
	if _, code := u.cluster(t, "up"); code != 0 {
		t.Fatal("up fails")
	}
	t.Cleanup(func() { b.Must(t, "exec", "1", "sh", "-c", "docker rm -f theirs; docker rmi -f mine:2") })
	b.Must(t, "exec", "1", "sh", "-c", "docker commit labels-head mine:2 && docker run -d --name theirs "+
		"--network none --entrypoint /bin/sh mine:2 -c 'while :; do read -r x; done'")
	for _, args := range [][]string{{"up"}, {"down"}} {
		if _, code := u.cluster(t, args...); code != 0 {
			t.Errorf("%v fails", args)
		}
		if out := b.Must(t, "exec", "1", "docker", "ps", "-aq", "--filter", "name=theirs"); out == "" {
			t.Fatalf("%v has removed a container of somebody else", args)
		}
	}
}
