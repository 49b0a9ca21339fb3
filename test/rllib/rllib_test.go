// Package rllib runs examples/training on real Ray: it builds the example's image, with torch, starts clusters of 2
// and of 6 CPUs from it, and trains there. It takes some 20 GB of disk and many minutes, so only `make test-rllib`
// runs it.
package rllib

import (
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runEnv has to be set for the test to run, pageEnv says where its figures go. keepEnv is a
// directory on a real disk in which registry and lock stay, so that the next run need not build the
// image.
const (
	runEnv  = "RAYBUILD_TEST_RLLIB"
	pageEnv = "RAYBUILD_TEST_RLLIB_PAGE"
	keepEnv = "RAYBUILD_TEST_RLLIB_KEEP"
)

// patience is how long a program may take. One that waits for a CPU for ever is found by it.
const patience = 20 * time.Minute

// row is what one program did on one cluster.
type row struct {
	program     string
	cpus        int
	seconds     float64
	iterations  int
	first, last float64
	did         string // the program's own last line
}

func TestTrainingOnRealRay(t *testing.T) {
	if os.Getenv(runEnv) == "" {
		t.Skip("make test-rllib runs it: it takes much disk and many minutes")
	}
	b := newBed(t)
	p := &page{image: b.need(t), started: time.Now()}
	for _, c := range []struct {
		file string
		cpus int
	}{{"two-cpus.yaml", 2}, {"six-cpus.yaml", 6}} {
		ok := t.Run(strings.TrimSuffix(c.file, ".yaml"), func(t *testing.T) {
			p.ups = append(p.ups, up{c.cpus, b.up(t, c.file, p.image)})
			p.unpacked = int64(number(t, b.onHost(t, "docker", "image", "inspect", "-f", "{{.Size}}",
				b.testEnv.Registry+"/"+p.image.Name)))
			b.tooMany(t, c.cpus)
			p.rows = append(p.rows, b.record(t, c.cpus), b.offline(t, c.cpus), b.ppo(t, c.cpus))
		})
		if !ok {
			t.FailNow()
		}
	}
	if file := os.Getenv(pageEnv); file != "" {
		if err := os.WriteFile(file, p.markdown(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("\n%s", p.markdown())
}

// tooMany asks for more than the cluster has: that has to be said, not waited for.
func (b *bed) tooMany(t *testing.T, cpus int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, code := b.raybuild(ctx, t, "submit", "--dir", training, "--env", fmt.Sprintf("WORKERS=%d", cpus),
		"--", "python", "ppo.py")
	if want := fmt.Sprintf("WORKERS=%d needs %d CPUs", cpus, cpus+1); code != 1 || !strings.Contains(out, want) {
		t.Errorf("with as many workers as CPUs: exit %d, want 1 and %q in\n%s", code, want, out)
	}
}

var iteration = regexp.MustCompile(`(?m)^(?:iteration (\d+)|before): mean return (-?[\d.]+)$`)

// train submits a program, and checks that its returns rose. It gives what the program wrote, too.
func (b *bed) train(t *testing.T, program string, cpus int) (row, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	out, code := b.raybuild(ctx, t, "submit", "--dir", training, "--", "python", program)
	r := row{program: program, cpus: cpus, seconds: time.Since(start).Seconds()}
	if ctx.Err() != nil {
		t.Fatalf("%s on %d CPUs has not ended after %s:\n%s", program, cpus, patience, out)
	}
	if code != 0 {
		t.Fatalf("%s on %d CPUs: exit %d\n%s", program, cpus, code, out)
	}
	lines := iteration.FindAllStringSubmatch(out, -1)
	if len(lines) < 2 {
		t.Fatalf("%s on %d CPUs shows no returns:\n%s", program, cpus, out)
	}
	r.first, r.last = number(t, lines[0][2]), number(t, lines[len(lines)-1][2])
	r.iterations, _ = strconv.Atoi(lines[len(lines)-1][1])
	if r.last <= r.first {
		t.Errorf("%s on %d CPUs: the mean return went from %g to %g; want it to rise", program, cpus, r.first, r.last)
	}
	return r, out
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var recorded = regexp.MustCompile(
	`(?m)^recorded ((\d+) episodes \((\d+) of them twice\), \d+ steps, in (\d+) files) under /shared/cartpole-out; .*$`)

// count has Arrow count the record's rows and those that differ, without the example's own reader.
const count = `import pyarrow.dataset as d
rows = d.dataset("/shared/cartpole-out", format="parquet").to_table(columns=["item"])["item"].to_pylist()
print("rows", len(rows), "different", len(set(rows)))`

func (b *bed) record(t *testing.T, cpus int) row {
	t.Helper()
	r, out := b.train(t, "record.py", cpus)
	m := recorded.FindStringSubmatch(out)
	if m == nil || m[3] != "0" {
		t.Fatalf("want a line of what was recorded, with nothing twice, in\n%s", out)
	}
	r.did = m[1]
	files := strings.Fields(b.onHost(t, "find", "/srv/shared/cartpole-out", "-name", "*.parquet"))
	if strconv.Itoa(len(files)) != m[4] {
		t.Errorf("the host has %d files, the program says %s", len(files), m[4])
	}
	got, code := b.raybuild(t.Context(), t, "submit", "--", "python", "-c", count)
	if want := fmt.Sprintf("rows %s different %s", m[2], m[2]); code != 0 || !strings.Contains(got, want) {
		t.Errorf("exit %d, want %q in\n%s", code, want, got)
	}
	return r
}

var saved = regexp.MustCompile(`(?m)^saved (/shared/(\S+))$`)

// kept checks that a program's checkpoint is where it says, below dir.
func (b *bed) kept(t *testing.T, r row, out, dir string) row {
	t.Helper()
	m := saved.FindStringSubmatch(out)
	if m == nil || !strings.HasPrefix(m[1], dir) {
		t.Fatalf("%s: want a checkpoint below %s in\n%s", r.program, dir, out)
	}
	if got := b.onHost(t, "ls", path.Join("/srv/shared", m[2], "rllib_checkpoint.json")); !strings.HasSuffix(got,
		".json") {
		t.Errorf("%s: no checkpoint in %s: %s", r.program, m[1], got)
	}
	r.did = "a checkpoint in " + m[1]
	return r
}

func (b *bed) offline(t *testing.T, cpus int) row {
	t.Helper()
	r, out := b.train(t, "offline.py", cpus)
	return b.kept(t, r, out, "/shared/cartpole-model")
}

func (b *bed) ppo(t *testing.T, cpus int) row {
	t.Helper()
	r, out := b.train(t, "ppo.py", cpus)
	return b.kept(t, r, out, "/shared/ray_results/corridor/")
}
