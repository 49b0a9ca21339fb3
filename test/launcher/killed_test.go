package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
	hosts "github.com/raybuild/raybuild/test/bed"
)

// upEnv makes TestMain's process be a launcher that can be killed.
const upEnv = "RAYBUILD_TEST_UP"

type upRequest struct {
	Dir, Net, Name, Registry, Image, Cluster, More string
	Workers                                        []int
}

// runUp is the launcher in a process of its own.
func runUp(data string) int {
	var r upRequest
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 64
	}
	b := &hosts.Bed{Dir: r.Dir, Net: r.Net, Name: r.Name, Registry: r.Registry, Hosts: 3}
	spec, err := cluster.Load("cluster.yaml", []byte(b.Text(r.Cluster, r.Image, r.More, r.Workers...)))
	if err == nil {
		o := b.Reach()
		o.Log = os.Stderr
		_, err = cluster.Up(context.Background(), spec, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (b *bed) launcher(t testing.TB, name, image, more string, workers ...int) *exec.Cmd {
	data, err := json.Marshal(upRequest{b.Dir, b.Net, b.Name, b.Registry, image, name, more, workers})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), upEnv+"="+string(data))
	return cmd
}

func TestKilledAtRandomMomentsConverges(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "killed")
	times, seed := 20, uint64(time.Now().UnixNano())
	if s := os.Getenv("RAYBUILD_TEST_SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("RAYBUILD_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	images := []string{b.image, b.moved}
	tmp := t.TempDir() // the launcher's own temporary files
	start := func(image string) *exec.Cmd {
		cmd := b.launcher(t, "killed", image, "filter: true\n", 2)
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
		return cmd
	}
	before := map[int]hosts.Traces{}
	for h := 1; h <= 2; h++ {
		before[h] = b.Traces(t, h)
	}
	whole := 4 * time.Second // how long a launcher takes; learnt from those that run to their end
	for i := range times {
		victim := start(images[i%2])
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(random.Int64N(int64(whole)))
		timer := time.AfterFunc(moment, func() { _ = victim.Process.Kill() }) // it may have ended before
		_ = victim.Wait()                                                     // killed, or done: both are fine
		timer.Stop()
		begin := time.Now()
		out, err := start(images[i%2]).CombinedOutput()
		if err != nil {
			t.Fatalf("run %d, killed after %s: the next launcher: %v\n%s", i, moment, err, out)
		}
		whole = max(2*time.Second, (whole+time.Since(begin)+moment)/2)
		var looks sync.WaitGroup
		for h := 1; h <= 2; h++ {
			looks.Go(func() { b.onlyTheNode(t, h, "killed", before[h]) })
		}
		looks.Wait()
		if t.Failed() {
			t.Fatalf("run %d, killed after %s", i, moment)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("run %d, killed after %s: the launcher's temporary directory has %v, %v", i, moment, left, err)
		}
	}
}
