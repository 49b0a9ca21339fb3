package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// running is a raybuild that has not ended yet.
type running struct {
	cmd    *exec.Cmd
	stderr *watched
	done   chan struct{}
}

// watched keeps output and lets a test wait for a text in it.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// start calls raybuild and does not wait for it.
func (h *home) start(args ...string) *running {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	r := &running{cmd: h.command(ctx, args...), stderr: &watched{more: make(chan struct{}, 1)},
		done: make(chan struct{})}
	r.cmd.Stderr = r.stderr
	if err := r.cmd.Start(); err != nil {
		cancel()
		h.t.Fatal(err)
	}
	go func() {
		defer cancel()
		_ = r.cmd.Wait() // the state has all of it
		close(r.done)
	}()
	h.t.Cleanup(func() { // of a test that gave up
		cancel()
		<-r.done
	})
	return r
}

// says waits until the program has said text; false where it ended before.
func (r *running) says(text string) bool {
	for !strings.Contains(r.stderr.String(), text) {
		select {
		case <-r.stderr.more:
		case <-r.done:
			return false
		}
	}
	return true
}

// ended tells whether the program ends by itself within d.
func (r *running) ended(d time.Duration) bool {
	select {
	case <-r.done:
		return true
	case <-time.After(d):
		return false
	}
}

// signal sends a signal and gives exit code and how long the end took.
func (r *running) signal(t *testing.T, s syscall.Signal) (int, time.Duration) {
	t.Helper()
	start := time.Now()
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-r.done
	return r.cmd.ProcessState.ExitCode(), time.Since(start)
}

// slowest is how long an interrupted raybuild may take to end: two seconds, and what a busy machine adds.
const slowest = 10 * time.Second

// Whatever ends a build, and whenever, the next one goes on and makes the very same image.
func TestDisturbedBuilds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("RAYBUILD_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: RAYBUILD_TEST_SEED=%d", seed)
	warmHome(t)
	h := newHome(t) // without a lock: the first moments are those of resolving
	h.write("raybuild.yaml", shortRecipe())
	dst := ref(t, "1")
	interruptAll(t, h, rand.New(rand.NewPCG(seed, 0)), dst)
	whole := h.push(dst).meta
	same := warmLike(t, warm.dir)
	same.write("raybuild.lock", h.read("raybuild.lock"))
	if undisturbed := same.push(ref(t, "undisturbed"), "--graph-tag=false",
		"--reuse=false").meta; undisturbed.Digest != whole.Digest {
		t.Errorf("after interruptions the image is %s, without %s\n%s", whole.Digest, undisturbed.Digest,
			differing(whole, undisturbed))
	}
	t.Run("the engine is killed", func(t *testing.T) { killEngine(t, h, dst) })
	t.Run("two at once", func(t *testing.T) {
		args := func(tag string) []string {
			return []string{"--push", "--no-cache", "--progress", "plain",
				ref(t, tag)}
		}
		a, b := h.start(args("a")...), h.start(args("b")...)
		for _, r := range []*running{a, b} {
			<-r.done
			if code := r.cmd.ProcessState.ExitCode(); code != 0 {
				t.Fatalf("one of two raybuilds: exit %d\n%s", code, tail(r.stderr.String(), 40))
			}
		}
		for _, tag := range []string{"a", "b"} {
			if d, err := pull(t, ref(t, tag)).Digest(); err != nil || d.String() != whole.Digest {
				t.Errorf("image %s is %v (%v), want %s", tag, d, err, whole.Digest)
			}
		}
	})
}

// interruptAll ends builds at random moments: eight times as ^C does, four times as kill -9.
func interruptAll(t *testing.T, h *home, random *rand.Rand, dst string) {
	t.Helper()
	left := map[syscall.Signal]int{syscall.SIGINT: 8, syscall.SIGKILL: 4}
	args := []string{"--push", "--progress", "plain", "--metadata-file", "meta.json", dst}
	for try := 0; left[syscall.SIGINT]+left[syscall.SIGKILL] > 0; try++ {
		if try == 40 {
			t.Fatalf("the builds end before they are interrupted: still to do %v", left)
		}
		// the first are moments of resolving, the others of building
		if left[syscall.SIGINT]+left[syscall.SIGKILL] == 7 {
			h.write("raybuild.lock", warm.lock)
		}
		s := syscall.SIGINT
		if random.IntN(left[syscall.SIGINT]+left[syscall.SIGKILL]) >= left[syscall.SIGINT] {
			s = syscall.SIGKILL
		}
		after := time.Duration(random.IntN(6000)) * time.Millisecond
		r := h.start(args...)
		if r.ended(after) {
			if code := r.cmd.ProcessState.ExitCode(); code != 0 {
				t.Fatalf("the build after interruptions: exit %d\n%s", code, tail(r.stderr.String(), 40))
			}
			args = append(args, "--no-cache") // there must be something to interrupt
			continue
		}
		code, took := r.signal(t, s)
		left[s]--
		what := fmt.Sprintf("%v after %v", s, after)
		if s == syscall.SIGINT {
			t.Logf("%s: ended within %v: %s", what, took.Round(time.Millisecond),
				strings.TrimSpace(tail(r.stderr.String(), 2)))
			if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); code == 0 ||
				ok && status.Signaled() && after < time.Second {
				continue // done at that moment, or not far enough to notice: a shell calls that 130 as well
			}
			if code != 130 || took > slowest {
				t.Errorf("%s: exit %d after %v, want 130 within %v\n%s", what, code, took, slowest,
					tail(r.stderr.String(), 20))
			}
			if text := r.stderr.String(); !strings.Contains(text, "raybuild: interrupted") ||
				!strings.Contains(text, "run again") {
				t.Errorf("%s: it does not say what to do next:\n%s", what, tail(text, 20))
			}
			noRests(t, h, what)
		}
		intact(t, h, what)
	}
}

// intact checks that what an interrupted build leaves is whole or not there.
func intact(t *testing.T, h *home, what string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(h.cwd, "raybuild.lock")); err == nil {
		if out := h.run("lock", "--check"); out.code != 0 {
			t.Errorf("%s: the lock is not whole: exit %d\n%s", what, out.code, out.stderr)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(h.cwd, "meta.json"))
	if err == nil && !json.Valid(data) {
		t.Errorf("%s: the metadata is not whole:\n%s", what, data)
	}
}

// noRests checks that no temporary file is left beside the recipe.
func noRests(t *testing.T, h *home, what string) {
	t.Helper()
	entries, err := os.ReadDir(h.cwd)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".raybuild.lock.") || strings.HasPrefix(e.Name(), ".meta.json.") {
			t.Errorf("%s: %s is left behind", what, e.Name())
		}
	}
}

// killEngine ends the engine in the middle of a build: the client says so at once, and the next
// call starts another one.
func killEngine(t *testing.T, h *home, dst string) {
	r := h.start("--push", "--no-cache", "--progress", "plain", dst)
	if !r.says("] create ") && !r.says("] install") {
		t.Fatalf("the build ended before its engine was killed:\n%s", tail(r.stderr.String(), 40))
	}
	pids, err := filepath.Glob(filepath.Join(h.dir, "engine", "*", "engine.pid"))
	if err != nil || len(pids) != 1 {
		t.Fatalf("engine.pid: %v %v", pids, err)
	}
	data, err := os.ReadFile(pids[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !r.ended(slowest + time.Second) {
		t.Fatal("the client waits for an engine that was killed")
	}
	took, text := time.Since(start), r.stderr.String()
	last := tail(text, 8)
	if code := r.cmd.ProcessState.ExitCode(); code != 1 || took > slowest {
		t.Errorf("exit %d after %v, want 1 within %v", code, took, slowest)
	}
	for _, want := range []string{"raybuild: ", "engine.sock", "is gone", "run again"} {
		if !strings.Contains(last, want) {
			t.Errorf("the error does not say %q:\n%s", want, last)
		}
	}
}
