package launcher

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray in every test of this file. TestCase5… and TestCase8… are cases that people report, with siblings of
// the same cause.

// sent is what the head's stand-in has sent of logs.
type sent struct{ Whole, Tails, Sent, Memory int64 }

// sentBy asks the head of a cluster on the first host.
func (b *bed) sentBy(t *testing.T, spec *cluster.Spec) sent {
	t.Helper()
	token := b.Must(t, "exec", "1", "docker", "exec", spec.Head.ID, "sh", "-c", `cat "$RAY_AUTH_TOKEN_PATH"`)
	out := b.Must(t, "exec", "1", "curl", "-sf", "-H", "Authorization: Bearer "+strings.TrimSpace(token),
		"http://127.0.0.1:8265/test/sent")
	var s sent
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// lines is a shell program that writes n lines of 1 kB, and pauses after each hundredth.
func lines(n, pause string) string {
	return `x=; while [ ${#x} -lt 1000 ]; do x=xxxxxxxxxxxxxxxxxxxx$x; done; i=0; while [ $i -lt ` + n + ` ]; do ` +
		`echo $i $x; i=$((i+1)); [ $((i%100)) != 0 ] || ` + pause + `; done; exit 3`
}

// TestCase5SubmitReadsWhatIsNew: a log is sent once, whatever its length, and neither side holds all of it.
func TestCase5SubmitReadsWhatIsNew(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "case5")
	spec := b.Spec(t, "case5", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, program string
		bytes         int64 // that the log has at least
		attached      int64 // how often, at least
		cut           bool
	}{
		{"a log of more than 64 MiB", lines("70000", "true"), 65 << 20, 1, false},
		{"a job that writes slowly", lines("500", "sleep 0.5"), 500_000, 1, false},
		{"a connection that is cut", lines("2000", "sleep 0.3"), 2_000_000, 2, true},
	} {
		before := b.sentBy(t, spec)
		out := &counted{}
		if tt.cut {
			out.at, out.do = 200<<10, func() {
				b.Must(t, "exec", "1", "sh", "-c", "pkill -o -f 'sshd: root' || kill $(ps -eo pid,args | awk "+
					"'/sshd: root/ {print $1; exit}')")
			}
		}
		job := cluster.Job{Argv: []string{"sh", "-c", tt.program}}
		res, err := cluster.Submit(t.Context(), spec, job, out, io.Discard, b.Options(t))
		if err != nil || res.ExitCode != 3 {
			t.Errorf("%s: %+v, %v", tt.name, res, err)
			continue
		}
		after := b.sentBy(t, spec)
		whole, tails, bytes := after.Whole-before.Whole, after.Tails-before.Tails, after.Sent-before.Sent
		t.Logf("%s: %d bytes are shown, %d were sent in %d websockets; the head has used %d MiB", tt.name, out.bytes,
			bytes, tails, after.Memory>>20)
		if out.bytes < tt.bytes || out.broken {
			t.Errorf("%s: %d bytes are shown, want at least %d, and each line once: %v", tt.name, out.bytes, tt.bytes,
				!out.broken)
		}
		if whole != 0 || tails < tt.attached || !tt.cut && (tails != 1 || bytes != out.bytes) {
			t.Errorf("%s: the whole log was sent %d times; %d bytes in %d websockets for %d bytes", tt.name, whole,
				bytes, tails, out.bytes)
		}
		if after.Memory > 64<<20 {
			t.Errorf("%s: the head has used %d MiB", tt.name, after.Memory>>20)
		}
	}
}

// TestCase5JobsGoOnWithoutSubmit: a job that nobody follows is found, shown while it runs, and stopped.
func TestCase5JobsGoOnWithoutSubmit(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "case5b")
	spec := b.Spec(t, "case5b", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil {
		t.Fatal(err)
	}
	job := cluster.Job{Argv: []string{"sh", "-c", lines("100000", "sleep 1")}, Detach: true}
	made, err := cluster.Submit(t.Context(), spec, job, io.Discard, io.Discard, b.Options(t))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	out := &counted{at: 100 << 10, do: func() {
		go func() {
			_, err := cluster.StopJob(t.Context(), spec, made.ID, b.Options(t))
			ended <- err
		}()
	}}
	res, err := cluster.JobLogs(t.Context(), spec, made.ID, true, out, b.Options(t))
	if err != nil || res.Status != "STOPPED" || out.broken {
		t.Errorf("follow: %+v, %v, each line once: %v", res, err, !out.broken)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	jobs, err := cluster.Jobs(t.Context(), spec, b.Options(t))
	if err != nil || len(jobs) != 1 || jobs[0].ID != made.ID || jobs[0].Status != "STOPPED" {
		t.Errorf("list: %+v, %v", jobs, err)
	}
}

// counted checks that lines come in their order, and calls do once, after some bytes.
type counted struct {
	bytes, at int64
	do        func()
	once      sync.Once
	rest      []byte
	next      int
	broken    bool
}

func (c *counted) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	c.rest = append(c.rest, p...)
	for {
		line, rest, ok := bytes.Cut(c.rest, []byte("\n"))
		if !ok {
			break
		}
		number, _, _ := strings.Cut(string(line), " ")
		if number != strconv.Itoa(c.next) {
			c.broken = true
		}
		c.next, c.rest = c.next+1, rest
	}
	if c.do != nil && c.bytes > c.at {
		c.once.Do(c.do)
	}
	return len(p), nil
}

// TestCase8SubmitSendsWhatGitTakes: what people keep out of version control stays out of a job.
func TestCase8SubmitSendsWhatGitTakes(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "case8")
	spec := b.Spec(t, "case8", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		files map[string]string // "NAME": content
		big   string            // a file of 150 MB
		want  string            // what the job finds; or part of the error
	}{
		{"secrets and data in .gitignore", map[string]string{".gitignore": ".env\ndata/\n", ".env": "SECRET=x",
			"train.py": "pass"}, "data/big.bin", "./.gitignore ./train.py"},
		{".rayignore with ** and !", map[string]string{".rayignore": "logs/**\n!logs/keep.txt\n", "logs/keep.txt": "x",
			"logs/a/b.txt": "x", "train.py": "pass"}, "logs/big.bin", "./.rayignore ./logs/keep.txt ./train.py"},
		{"ignore files in subdirectories", map[string]string{".gitignore": "*.bin\n", "lib/.gitignore": "!keep.bin\n",
			"lib/keep.bin": "x", "lib/b.bin": "x", "sub/.rayignore": "/secret\n", "sub/secret": "x", "secret": "x"},
			"a.bin", "./.gitignore ./lib/.gitignore ./lib/keep.bin ./secret ./sub/.rayignore"},
		{"too much that nobody ignores", map[string]string{"train.py": "pass"}, "checkpoints/noise",
			`the largest are "checkpoints/" (150 MB)`},
	} {
		dir := t.TempDir()
		for name, text := range tt.files {
			put(t, filepath.Join(dir, name), []byte(text))
		}
		noise := make([]byte, 150_000_000)
		rand.NewChaCha8([32]byte{}).Read(noise) //nolint:errcheck // it never fails
		put(t, filepath.Join(dir, tt.big), noise)
		var out bytes.Buffer
		job := cluster.Job{Argv: []string{"sh", "-c", "find . -type f | sort | tr '\\n' ' '"}, Dir: dir}
		res, err := cluster.Submit(t.Context(), spec, job, &out, io.Discard, b.Options(t))
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			continue
		}
		if got := strings.TrimSpace(out.String()); got != tt.want || res.ExitCode != 0 {
			t.Errorf("%s: the job finds %s, want %s", tt.name, got, tt.want)
		}
	}
}

func put(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
