package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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

// benchEnv names the file that the figures go to; bench/cluster sets it.
const benchEnv = "RAYBUILD_BENCH_CLUSTER"

type figure struct {
	Hosts   int     `json:"hosts"`
	What    string  `json:"what"`
	By      string  `json:"by"`
	Seconds float64 `json:"seconds"`
	Runs    int     `json:"runs"` // median of
	Failed  int     `json:"failed,omitempty"`
}

// TestBench measures the launcher beside a shell loop of `ssh HOST docker run` and `docker compose` over SSH, on the same hosts, one
// after the other. Ray is miniray in all three: what is measured is the launching.
func TestBench(t *testing.T) {
	file := os.Getenv(benchEnv)
	if file == "" {
		t.Skip(benchEnv + " is not set: see bench/cluster")
	}
	b := needBed(t)
	var out []figure
	counts := []int{1}
	for _, n := range []int{3, 8} {
		if n <= b.hosts {
			counts = append(counts, n)
		}
	}
	for _, n := range counts {
		t.Run(fmt.Sprintf("%d hosts", n), func(t *testing.T) {
			b.clean(t, "bench")
			var workers []int
			for i := 2; i <= n; i++ {
				workers = append(workers, i)
			}
			spec := b.spec(t, "bench", b.image, "", workers...)
			down := func() {
				if _, err := cluster.Down(t.Context(), "bench", spec.Hosts(), b.reach()); err != nil {
					t.Fatal(err)
				}
			}
			up := func() {
				if _, err := cluster.Up(t.Context(), spec, b.reach()); err != nil {
					t.Fatal(err)
				}
			}
			up() // the image is there from now on, for all three
			out = append(out, median(n, "up, nothing to do", "raybuild", 5, func() {}, up))
			out = append(out, median(n, "up, image present", "raybuild", 3, down, up))
			down()
			loop := func(args ...string) int { return b.shellLoop(t, n, args...) }
			out = append(out, median(n, "docker run on each, no waiting", "ssh loop", 3, func() { loop("docker", "rm", "-f", "bench-loop") },
				func() {
					loop("docker", "run", "-d", "--name", "bench-loop", "--network", "host", "--entrypoint", "ray", b.image, "--version")
				}))
			loop("docker", "rm", "-f", "bench-loop")
			if b.compose(t, 1, "version") == nil {
				each := func(args ...string) {
					for i := 1; i <= n; i++ {
						if err := b.compose(t, i, args...); err != nil {
							t.Log(err)
						}
					}
				}
				out = append(out, median(n, "up -d on each, no waiting", "docker compose", 3, func() { each("down", "-t", "0") }, func() { each("up", "-d") }),
					median(n, "up -d again on each", "docker compose", 3, func() {}, func() { each("up", "-d") }))
				each("down", "-t", "0")
			} else {
				t.Log("docker compose is not installed: it is left out of the table")
			}
		})
	}
	out = append(out, b.deadHost(t))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(map[string]any{"figures": out, "ray": "miniray, a stand-in"}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%-6s %-34s %-16s %9s\n", "hosts", "what", "by", "seconds")
	for _, f := range out {
		fmt.Printf("%-6d %-34s %-16s %9.2f\n", f.Hosts, f.What, f.By, f.Seconds)
	}
}

func median(hosts int, what, by string, runs int, before, f func()) figure {
	var took []float64
	for range runs {
		before()
		start := time.Now()
		f()
		took = append(took, time.Since(start).Seconds())
	}
	slices.Sort(took)
	return figure{Hosts: hosts, What: what, By: by, Seconds: took[len(took)/2], Runs: runs}
}

// shellLoop runs a command on each host by ssh, one after the other, as people do. It counts failures.
func (b *bed) shellLoop(t testing.TB, n int, argv ...string) int {
	failed := 0
	for i := 1; i <= n; i++ {
		cmd := exec.CommandContext(t.Context(), filepath.Join(b.dir, "bin/ssh"), append([]string{"root@" + b.addr(i)}, argv...)...)
		if cmd.Run() != nil {
			failed++
		}
	}
	return failed
}

// compose runs docker compose against one host's Engine over SSH.
func (b *bed) compose(t testing.TB, i int, args ...string) error {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	text := fmt.Sprintf("name: bench\nservices: {ray: {image: %q, network_mode: host, entrypoint: [ray, start, --head, --port=6379, --dashboard-host=127.0.0.1, --dashboard-port=8265, --node-manager-port=6380, --object-manager-port=6381, --dashboard-agent-listen-port=52365]}}\n", b.image)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(t.Context(), "docker", append([]string{"compose", "-f", file}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=ssh://root@"+b.addr(i), "PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker compose %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// deadHost measures how long an open stream takes to end when its host is cut off.
func (b *bed) deadHost(t *testing.T) figure {
	b.clean(t, "dead")
	spec := b.spec(t, "dead", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.reach()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		w := &onWrite{c: first}
		ended <- cluster.Logs(ctx, spec, cluster.LogOptions{Follow: true}, w, w, b.reach())
	}()
	<-first // the stream is open: the head has said that it runs
	b.must(t, "cut", "1")
	start := time.Now()
	err := <-ended
	took := time.Since(start).Seconds()
	b.must(t, "heal", "1")
	if err == nil {
		t.Error("the stream ended as if nothing had happened")
	}
	return figure{Hosts: 1, What: "a dead host noticed in mid-stream", By: "raybuild", Seconds: took, Runs: 1}
}

type onWrite struct {
	once sync.Once
	c    chan struct{}
}

func (o *onWrite) Write(p []byte) (int, error) {
	o.once.Do(func() { o.c <- struct{}{} })
	return len(p), nil
}
