package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
)

// upEnv makes TestMain's process be a launcher that can be killed.
const upEnv = "RAYBUILD_TEST_UP"

type upRequest struct {
	Dir, Net, Name, Registry, Image, Cluster string
	Workers                                  []int
}

// runUp is the launcher in a process of its own.
func runUp(data string) int {
	var r upRequest
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 64
	}
	b := &bed{dir: r.Dir, net: r.Net, name: r.Name, registry: r.Registry, hosts: 3}
	spec, err := cluster.Load("cluster.yaml", []byte(b.text(r.Cluster, r.Image, "", r.Workers...)))
	if err == nil {
		o := b.reach()
		o.Log = os.Stderr
		_, err = cluster.Up(context.Background(), spec, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (b *bed) launcher(t testing.TB, name, image string, workers ...int) *exec.Cmd {
	data, err := json.Marshal(upRequest{b.dir, b.net, b.name, b.registry, image, name, workers})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), upEnv+"="+string(data))
	return cmd
}

func TestKilledAtRandomMomentsConverges(t *testing.T) {
	b := needBed(t)
	b.clean(t, "killed")
	times, seed := 20, uint64(time.Now().UnixNano())
	if testing.Short() {
		times = 4
	}
	if s := os.Getenv("RAYBUILD_TEST_SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("RAYBUILD_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	images := []string{b.image, b.moved}
	whole := 4 * time.Second // how long a launcher takes; learnt from those that run to their end
	for i := range times {
		image := images[i%2]
		victim := b.launcher(t, "killed", image, 2, 3)
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(random.Int64N(int64(whole)))
		timer := time.AfterFunc(moment, func() { _ = victim.Process.Kill() }) // it may have ended before
		_ = victim.Wait()                                                     // killed, or done: both are fine
		timer.Stop()
		start := time.Now()
		out, err := b.launcher(t, "killed", image, 2, 3).CombinedOutput()
		if err != nil {
			t.Fatalf("run %d, killed after %s: the next launcher: %v\n%s", i, moment, err, out)
		}
		whole = max(2*time.Second, (whole+time.Since(start)+moment)/2)
		var all []string
		for h := 1; h <= 3; h++ {
			all = append(all, strings.Fields(b.must(t, "exec", fmt.Sprint(h), "docker", "ps", "-a", "--format", "{{.Names}}"))...)
		}
		if len(all) != 3 || strings.Contains(strings.Join(all, " "), "raybuild-") {
			t.Errorf("run %d, killed after %s: containers %v", i, moment, all)
		}
	}
}
