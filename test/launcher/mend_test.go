package launcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// TestClusterMendsItself kills the head's process, then powers its host off and on. Ray is miniray: a stand-in that counts nodes and
// runs nothing.
func TestClusterMendsItself(t *testing.T) {
	b := needBed(t)
	b.clean(t, "mend")
	spec := b.spec(t, "mend", b.image, "", 2, 3)
	if _, err := cluster.Up(t.Context(), spec, b.options(t)); err != nil {
		t.Fatal(err)
	}
	b.mends(t, spec, b.killHead(t, spec))
	var booting sync.WaitGroup
	defer booting.Wait()
	b.mends(t, spec, func() {
		b.must(t, "off", "1")
		booting.Go(func() { b.must(t, "boot", "1") }) // while status looks
	})
	if s, err := cluster.Up(t.Context(), spec, b.options(t)); err != nil || s.Changed != 0 {
		t.Errorf("afterwards up finds something to do: %v\n%s", err, s)
	}
}

func (b *bed) killHead(t *testing.T, spec *cluster.Spec) func() {
	return func() {
		b.must(t, "exec", "1", "sh", "-c", "kill -KILL $(docker inspect -f '{{.State.Pid}}' "+spec.Head.ID+")")
	}
}

// truth samples how many nodes are alive by the head's own word, asked on its host without the launcher; 0 when it does not answer.
type truth struct {
	more    *sync.Cond
	at      []time.Time // when a sample began
	samples []int
}

// follow samples until ctx ends.
func (r *truth) follow(ctx context.Context, b *bed, name string) {
	ask := fmt.Sprintf(`curl -s --max-time 2 -H "Authorization: Bearer $(cat /var/lib/docker/volumes/raybuild-%s-auth/_data/token)" \
http://127.0.0.1:8265/api/v0/nodes`, name)
	for ctx.Err() == nil {
		start := time.Now()
		out, _ := b.script("exec", "1", "sh", "-c", ask) // no answer is one: nothing is alive
		r.more.L.Lock()
		r.at = append(r.at, start)
		r.samples = append(r.samples, strings.Count(strings.ReplaceAll(out, " ", ""), `"state":"ALIVE"`))
		r.more.L.Unlock()
		r.more.Broadcast()
	}
}

// between gives the fewest and the most nodes alive from the last sample that was over at start to the first that began after end.
// It waits for that one.
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

// mends lets something happen to the head and follows the cluster until it is whole again without anybody's help. All the while status
// is compared with what was so during the look. It fails where status says otherwise, and where it never noticed.
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
	noticed, looks := 0, 0
	for {
		start := time.Now()
		s, err := cluster.Inspect(t.Context(), spec, b.reach())
		if err != nil {
			t.Fatal(err)
		}
		looks++
		least, most := r.between(start, time.Now())
		said := fmt.Sprintf("%.1f s afterwards: status says %d alive, healthy %v; between %d and %d of %d were", time.Since(since).Seconds(), s.Alive, s.Healthy, least, most, wanted)
		t.Log(said)
		if s.Alive > most || s.Healthy && most < wanted {
			t.Errorf("status says otherwise than it is: %s\n%s", said, s)
		}
		if !s.Healthy && least < wanted {
			noticed++
		}
		if s.Healthy && least == wanted && noticed > 0 {
			t.Logf("whole again after %s; %d looks, %d while it was not whole", time.Since(since), looks, noticed)
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
