package launcher

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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
}

// figures gathers the table.
type figures struct {
	rows    []figure
	machine machine
}

// What is measured.
const (
	whatCold    = "cold: pull, start"
	whatThere   = "image there: start"
	whatNothing = "nothing to do"
	whatDead    = "a dead host noticed in mid-stream"
)

func (f *figures) add(rows ...figure) { f.rows = append(f.rows, rows...) }

// mostNoOp is how long an up of 8 hosts that changes nothing may take.
const mostNoOp = time.Second

// TestBench measures the launcher beside a shell loop of `ssh HOST docker run` and `docker compose`
// over SSH, on the same hosts, one after the other. Ray is miniray in all three: what is measured
// is the launching. raybuild ends when Ray counts every node alive; the others end when the
// containers are started.
func TestBench(t *testing.T) {
	file := os.Getenv(benchEnv)
	if file == "" {
		t.Skip(benchEnv + " is not set: see bench/cluster")
	}
	b := needBed(t)
	out := figures{machine: thisMachine(t)}
	for _, n := range []int{1, 3, 8} {
		if n <= b.Hosts {
			t.Run(fmt.Sprintf("%d hosts", n), func(t *testing.T) {
				b.benchRaybuild(t, n, &out)
				b.benchLoop(t, n, &out)
				b.benchCompose(t, n, &out)
			})
		}
	}
	out.add(b.deadHost(t))
	out.write(t, file)
	out.publish(t, b)
}

func (b *bed) benchRaybuild(t *testing.T, n int, out *figures) {
	b.Clean(t, "bench")
	var workers []int
	for i := 2; i <= n; i++ {
		workers = append(workers, i)
	}
	spec := b.Spec(t, "bench", b.image, "", workers...)
	down := func() {
		if _, err := cluster.Down(t.Context(), "bench", spec.Hosts(), b.Reach()); err != nil {
			t.Fatal(err)
		}
	}
	up := func() {
		if s, err := cluster.Up(t.Context(), spec, b.Reach()); err != nil || s.Alive != n {
			t.Fatalf("%v\n%s", err, s)
		}
	}
	out.add(median(n, whatCold, "raybuild", 3, func() { down(); b.forget(t, n) }, up))
	out.add(median(n, whatThere, "raybuild", 3, down, up))
	idle := median(n, whatNothing, "raybuild", 5, func() {}, up)
	out.add(idle)
	if n == 8 && idle.Seconds > mostNoOp.Seconds() {
		t.Errorf("an up of %d hosts that changes nothing takes %.2f s, more than %s", n, idle.Seconds, mostNoOp)
	}
	down()
}

// forget removes the image from n hosts.
func (b *bed) forget(t *testing.T, n int) {
	for i := 1; i <= n; i++ {
		b.Must(t, "exec", fmt.Sprint(i), "sh", "-c", "docker image ls -q --no-trunc | sort -u | xargs -r docker image "+
			"rm -f >/dev/null")
	}
}

// startHere is one node as people start it by hand.
func (b *bed) startHere() []string {
	return []string{"ray", "start", "--head", "--port=6379", "--dashboard-host=127.0.0.1", "--dashboard-port=8265",
		"--node-manager-port=6380",
		"--object-manager-port=6381", "--dashboard-agent-listen-port=52365"}
}

func (b *bed) benchLoop(t *testing.T, n int, out *figures) {
	run := "docker run -d --name bench-loop --network host --entrypoint ray " +
		b.image + " " + strings.Join(b.startHere()[1:], " ")
	unless := "docker container inspect bench-loop >/dev/null 2>&1 || " + run
	loop := func(all bool, command string) {
		if failed := b.shellLoop(t, n, all, command); failed > 0 {
			t.Errorf("the ssh loop fails on %d of %d hosts: %s", failed, n, command)
		}
	}
	remove := func() { loop(true, "docker rm -f bench-loop >/dev/null 2>&1 || true") }
	for by, all := range map[string]bool{"ssh loop": false, "ssh loop, at once": true} {
		out.add(median(n, whatCold, by, 3, func() { remove(); b.forget(t, n) }, func() { loop(all, unless) }),
			median(n, whatThere, by, 3, remove, func() { loop(all, unless) }),
			median(n, whatNothing, by, 5, func() {}, func() { loop(all, unless) }))
	}
	remove()
}

func (b *bed) benchCompose(t *testing.T, n int, out *figures) {
	if _, err := b.compose(t, 1, "version"); err != nil {
		t.Logf("docker compose is left out of the table: %v", err)
		return
	}
	each := func(args ...string) {
		for i := 1; i <= n; i++ {
			if _, err := b.compose(t, i, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	down, up := func() { each("down", "-t", "0") }, func() { each("up", "-d") }
	out.add(median(n, whatCold, "docker compose", 3, func() { down(); b.forget(t, n) }, up),
		median(n, whatThere, "docker compose", 3, down, up), median(n, whatNothing, "docker compose", 5, func() {}, up))
	down()
}

// write prints the table, by hosts and by what is done, and writes the file.
func (f *figures) write(t *testing.T, file string) {
	slices.SortStableFunc(f.rows, func(x, y figure) int {
		return cmp.Or(cmp.Compare(x.Hosts, y.Hosts), cmp.Compare(x.What, y.What), cmp.Compare(x.By, y.By))
	})
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(map[string]any{"figures": f.rows, "ray": "miniray, a stand-in",
		"cpus": runtime.NumCPU()}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("| hosts | what | by | seconds |\n| ---: | --- | --- | ---: |\n")
	for _, r := range f.rows {
		fmt.Printf("| %d | %s | %s | %.2f |\n", r.Hosts, r.What, r.By, r.Seconds)
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

// shellLoop runs a command on each host by ssh, one after the other as people do, or all at once as
// careful people do. It counts failures.
func (b *bed) shellLoop(t testing.TB, n int, all bool, command string) int {
	var failed atomic.Int64
	g := errgroup.Group{}
	if !all {
		g.SetLimit(1)
	}
	for i := 1; i <= n; i++ {
		g.Go(func() error {
			out, err := exec.CommandContext(t.Context(), filepath.Join(b.Dir, "bin/ssh"), "root@"+b.Addr(i),
				command).CombinedOutput()
			if err != nil {
				t.Logf("host %d: %v: %s", i, err, out)
				failed.Add(1)
			}
			return nil
		})
	}
	g.Wait() //nolint:errcheck // it counts them itself
	return int(failed.Load())
}

// composeEnv names docker's compose plugin, which make builds; without it the docker command's own is taken.
const composeEnv = "RAYBUILD_BENCH_COMPOSE"

// compose runs docker compose against one host's Engine over SSH, and gives what it prints.
func (b *bed) compose(t testing.TB, i int, args ...string) (string, error) {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	text := fmt.Sprintf("name: bench\nservices: {ray: {image: %q, network_mode: host, entrypoint: [%s]}}\n", b.image,
		strings.Join(b.startHere(), ", "))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}
	argv := append([]string{"docker", "compose", "-f", file}, args...)
	if plugin := os.Getenv(composeEnv); plugin != "" {
		argv = append([]string{plugin}, argv[2:]...)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=ssh://root@"+b.Addr(i), "PATH="+filepath.Join(b.Dir, "bin")+
		":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker compose %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// deadHost measures how long an open stream takes to end when its host is cut off.
func (b *bed) deadHost(t *testing.T) figure {
	b.Clean(t, "dead")
	spec := b.Spec(t, "dead", b.image, "")
	if _, err := cluster.Up(t.Context(), spec, b.Reach()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		w := &onWrite{c: first}
		ended <- cluster.Logs(ctx, spec, cluster.LogOptions{Follow: true}, w, w, b.Reach())
	}()
	<-first // the stream is open: the head has said that it runs
	b.Must(t, "cut", "1")
	start := time.Now()
	err := <-ended
	took := time.Since(start).Seconds()
	b.Must(t, "heal", "1")
	if err == nil {
		t.Error("the stream ended as if nothing had happened")
	}
	return figure{Hosts: 1, What: whatDead, By: "raybuild", Seconds: took, Runs: 1}
}

type onWrite struct {
	once sync.Once
	c    chan struct{}
}

func (o *onWrite) Write(p []byte) (int, error) {
	o.once.Do(func() { o.c <- struct{}{} })
	return len(p), nil
}
