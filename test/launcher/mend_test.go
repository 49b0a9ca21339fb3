package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// TestClusterMendsItself kills the head's process, then powers its host off and on. Ray is miniray:
// a stand-in that counts nodes and runs nothing.
func TestClusterMendsItself(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "mend")
	spec := b.Spec(t, "mend", b.image, "", 2, 3)
	if _, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil {
		t.Fatal(err)
	}
	watched := b.watchStatus(t, spec)
	b.mends(t, spec, b.killHead(t, spec))
	var booting sync.WaitGroup
	defer booting.Wait()
	b.mends(t, spec, func() {
		b.Must(t, "off", "1")
		booting.Go(func() { b.Must(t, "boot", "1") }) // while status looks
	})
	watched()
	if s, err := cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("afterwards up finds something to do: %v\n%s", err, s)
	}
}

func (b *bed) killHead(t *testing.T, spec *cluster.Spec) func() {
	return func() {
		b.Must(t, "exec", "1", "sh", "-c", "kill -KILL $(docker inspect -f '{{.State.Pid}}' "+spec.Head.ID+")")
	}
}

// watchStatus starts `raybuild cluster status --watch`, and waits until it shows a whole cluster.
// The function that it returns waits for that again, checks that in between it was shown not to be
// whole, and interrupts it.
func (b *bed) watchStatus(t *testing.T, spec *cluster.Spec) func() {
	t.Helper()
	dir := t.TempDir()
	var workers []int
	for i := range spec.Workers {
		workers = append(workers, i+2)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(b.Text(spec.Name, spec.Image, "", workers...)),
		0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(buildProgram(t), "cluster", "status", "--watch=200ms", "--json", "--ssh-config", "none",
		"--known-hosts", filepath.Join(b.Dir, "known_hosts"),
		"--identity", filepath.Join(b.Dir, "id_ed25519"), "--insecure-registry", b.Registry)
	var said strings.Builder
	cmd.Dir, cmd.Stderr = dir, &said
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test has failed
	w := watched{more: sync.NewCond(&sync.Mutex{})}
	go w.follow(out, len(spec.Nodes()))
	late := time.AfterFunc(3*time.Minute, func() { w.add(func() { w.late = true }) })
	t.Cleanup(func() { late.Stop() })
	w.await(t, func() bool { return w.whole })
	return func() {
		t.Helper()
		w.await(t, func() bool { return w.whole && w.broken > 0 })
		t.Logf("status --watch: %d reports, %d while the cluster was not whole", w.reports, w.broken)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		w.await(t, func() bool { return w.ended })
		if err := cmd.Wait(); err != nil {
			t.Errorf("status --watch, interrupted, ends with %v\n%s", err, said.String())
		}
	}
}

// watched is what status --watch has shown.
type watched struct {
	more            *sync.Cond
	reports, broken int  // broken: not healthy, since it was whole for the first time
	whole           bool // in the last report
	ended, late     bool
}

func (w *watched) add(f func()) {
	w.more.L.Lock()
	defer w.more.L.Unlock()
	f()
	w.more.Broadcast()
}

func (w *watched) follow(out io.Reader, wanted int) {
	defer w.add(func() { w.ended = true })
	once := false
	for d := json.NewDecoder(out); ; {
		var s cluster.Status
		if d.Decode(&s) != nil { // at its end
			return
		}
		w.add(func() {
			w.reports++
			w.whole = s.Healthy && s.Alive == wanted
			if once = once || w.whole; once && !s.Healthy {
				w.broken++
			}
		})
	}
}

// await waits until f is true.
func (w *watched) await(t *testing.T, f func() bool) {
	t.Helper()
	w.more.L.Lock()
	defer w.more.L.Unlock()
	for !f() {
		if w.late || w.ended {
			t.Fatalf("status --watch has ended (%v), or shows not what it should: %d reports, %d not whole, the last "+
				"one whole: %v", w.ended, w.reports, w.broken, w.whole)
		}
		w.more.Wait()
	}
}

// truth samples how many nodes are alive by the head's own word, asked on its host without the
// launcher; 0 when it does not answer.
type truth struct {
	more    *sync.Cond
	at      []time.Time // when a sample began
	samples []int
}

// follow samples until ctx ends.
func (r *truth) follow(ctx context.Context, b *bed, name string) {
	ask := fmt.Sprintf(
		`curl -s --max-time 2 -H "Authorization: Bearer $(cat /var/lib/docker/volumes/raybuild-%s-auth/_data/token)" \
http://127.0.0.1:8265/api/v0/nodes`, name)
	for ctx.Err() == nil {
		start := time.Now()
		out, _ := b.Script("exec", "1", "sh", "-c", ask) // no answer is one: nothing is alive
		r.more.L.Lock()
		r.at = append(r.at, start)
		r.samples = append(r.samples, strings.Count(strings.ReplaceAll(out, " ", ""), `"state":"ALIVE"`))
		r.more.L.Unlock()
		r.more.Broadcast()
	}
}

// between gives the fewest and the most nodes alive from the last sample that was over at start to
// the first that began after end. It waits for that one.
func (r *truth) between(start, end time.Time) (least, most int) {
	r.more.L.Lock()
	defer r.more.L.Unlock()
	for len(r.at) == 0 || !r.at[len(r.at)-1].After(end) {
		r.more.Wait()
	}
	first, last := 0, len(r.at)-1
	for last > 0 && r.at[last-1].After(end) {
		last--
	}
	for first < last-1 && r.at[first+1].Before(start) {
		first++
	}
	first = max(0, first-1) // the one before a sample that has begun is over
	return slices.Min(r.samples[first : last+1]), slices.Max(r.samples[first : last+1])
}

// mends lets something happen to the head and follows the cluster until it is whole again without
// anybody's help. All the while status is compared with what was so during the report. It fails where
// status says otherwise, and where it never noticed.
func (b *bed) mends(t *testing.T, spec *cluster.Spec, happens func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := truth{more: sync.NewCond(&sync.Mutex{})}
	var sampler sync.WaitGroup
	sampler.Go(func() { r.follow(ctx, b, spec.Name) })
	defer sampler.Wait()
	defer cancel()
	wanted := len(spec.Nodes())
	if least, _ := r.between(time.Now(), time.Now()); least != wanted {
		t.Fatalf("%d of %d nodes are alive before anything happens to the head", least, wanted)
	}
	happens()
	since := time.Now()
	noticed, reports := 0, 0
	for {
		start := time.Now()
		s, err := cluster.Inspect(t.Context(), spec, b.Reach())
		if err != nil {
			t.Fatal(err)
		}
		reports++
		least, most := r.between(start, time.Now())
		said := fmt.Sprintf("%.1f s afterwards: status says %d alive, healthy %v; between %d and %d of %d were",
			time.Since(since).Seconds(), s.Alive, s.Healthy, least, most, wanted)
		t.Log(said)
		if s.Alive > most || s.Healthy && most < wanted || s.Problem == "" && s.Alive < least {
			t.Errorf("status says otherwise than it is: %s\n%s", said, s)
		}
		for _, n := range s.Nodes {
			if s.Problem != "" && s.Alive == 0 && n.Ray != "unknown" {
				t.Errorf("Ray did not answer (%s), and status says that node %s is %s", s.Problem, n.ID, n.Ray)
			}
		}
		if !s.Healthy && least < wanted {
			noticed++
		}
		if s.Healthy && least == wanted && noticed > 0 {
			t.Logf("whole again after %s; %d reports, %d while it was not whole", time.Since(since), reports, noticed)
			return
		}
		if s.Healthy && least == wanted && time.Since(since) > 10*time.Second {
			t.Fatal("the cluster was not whole for a while, and status never noticed")
		}
		if time.Since(since) > time.Minute {
			t.Fatalf("not whole after a minute:\n%s", s)
		}
	}
}
