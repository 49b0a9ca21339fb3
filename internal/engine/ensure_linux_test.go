package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/engine/enginetest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// needBusybox skips a test that runs a step where there is no static busybox.
func needBusybox(t *testing.T) {
	t.Helper()
	out, err := exec.Command("/bin/busybox", "true").CombinedOutput()
	if err == nil {
		return
	}
	testneeds.Skip(t, fmt.Sprintf("no static busybox (apt-get install -y busybox-static): %v: %s", err, out))
}

// ensure starts or finds the engine of o and has it stopped at the end.
func ensure(t *testing.T, o engine.Options) string {
	t.Helper()
	return enginetest.StartWith(t, o)
}

// pidOf gives the process id of the engine in home's default instance.
func pidOf(t *testing.T, home string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(home, "engine", "default", "engine.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// eventually fails the test when ok does not become true in time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// A zombie has ended: its parent, this test, just has not looked yet.
	return err == nil && !strings.Contains(string(b[bytes.LastIndexByte(b, ')'):]), " Z ")
}

func mustSolve(t *testing.T, addr string, s step) result {
	t.Helper()
	r, err := solve(t.Context(), addr, s)
	if err != nil {
		t.Fatalf("solve %q: %v", s.sh, err)
	}
	return r
}

func TestStepRunsOnceAndItsResultOutlivesTheEngine(t *testing.T) {
	needBusybox(t)
	o := enginetest.Options(enginetest.Home(t))
	out := t.TempDir()
	s := step{sh: "busybox id -u >/out/uid", out: out}
	if r := mustSolve(t, ensure(t, o), s); r.cached {
		t.Error("the first run of a step was cached")
	}
	if b, err := os.ReadFile(filepath.Join(out, "uid")); err != nil || string(b) != "0\n" {
		t.Errorf("the step left %q, %v; want uid 0", b, err)
	}
	enginetest.Stop(t, o)
	if r := mustSolve(t, ensure(t, o), s); !r.cached {
		t.Error("the step ran again in the next engine")
	}
}

func TestNetworkOfAStep(t *testing.T) {
	needBusybox(t)
	addr := enginetest.Start(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		net  pb.NetMode
		same bool
	}{
		{"by default is its own", pb.NetMode_UNSET, false},
		{"is the host's on request", pb.NetMode_HOST, true},
		{"is nothing on request", pb.NetMode_NONE, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustSolve(t, addr, step{sh: "busybox readlink /proc/self/ns/net", net: c.net})
			if got := strings.Contains(r.log, own); got != c.same {
				t.Errorf("network namespace %q, the host's is %q: same is %v, want %v", r.log, own, got, c.same)
			}
		})
	}
}

func TestParallelEnsuresShareOneEngine(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	ensure(t, o)
	enginetest.Stop(t, o)
	var eg errgroup.Group
	var mu sync.Mutex
	pids := map[int]bool{}
	for range 8 {
		eg.Go(func() error {
			if _, err := engine.Ensure(t.Context(), o); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			pids[pidOf(t, o.Home)] = true
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pids) != 1 {
		t.Errorf("8 callers got engines with pids %v, want one", pids)
	}
}

func TestKilledEngineIsReplacedWithItsCache(t *testing.T) {
	needBusybox(t)
	o := enginetest.Options(enginetest.Home(t))
	addr := ensure(t, o)
	done := step{sh: "busybox echo done >/out/x"}
	mustSolve(t, addr, done)

	// A step that would run for a day, told apart by its argument.
	seconds := strconv.Itoa(80000 + os.Getpid()%6000)
	ended := make(chan error, 1)
	go func() {
		_, err := solve(context.WithoutCancel(t.Context()), addr, step{sh: "exec busybox sleep " + seconds})
		ended <- err
	}()
	running := func() bool {
		out, _ := exec.Command("pgrep", "-f", "^busybox sleep "+seconds+"$").Output()
		return len(out) > 0
	}
	eventually(t, "the long step runs", running)
	pid := pidOf(t, o.Home)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a solve on a killed engine succeeded")
	}
	if _, err := os.Stat(strings.TrimPrefix(addr, "unix://")); err != nil {
		t.Errorf("this test wants a stale socket: %v", err)
	}
	unsynced := filepath.Join(o.Home, "engine", "default", "unsynced")
	if _, err := os.Stat(unsynced); err != nil {
		t.Errorf("nothing says that the state of an engine killed in a build is not all on the disk: %v", err)
	}

	addr = ensure(t, o)
	if now := pidOf(t, o.Home); now == pid {
		t.Errorf("the engine has the pid %d of the killed one", now)
	}
	eventually(t, "the killed engine's step ends", func() bool { return !running() })
	if r := mustSolve(t, addr, done); !r.cached {
		t.Error("the cache was lost with the killed engine")
	}
	eventually(t, "the state is on the disk after the last client", func() bool {
		_, err := os.Stat(unsynced)
		return errors.Is(err, os.ErrNotExist)
	})
	if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), o.Home) {
		t.Error("the engine's mounts are seen outside of it")
	}
}

func TestIdleEngineEndsAndTheNextCallerStartsAnother(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	o.Idle = 200 * time.Millisecond
	addr := ensure(t, o)
	pid := pidOf(t, o.Home)
	eventually(t, "the engine ends", func() bool { return !alive(pid) })
	if _, err := os.Stat(strings.TrimPrefix(addr, "unix://")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is still there: %v", err)
	}
	// Callers that come while it ends must not lose.
	for i := range 15 {
		if _, err := engine.Ensure(t.Context(), o); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		time.Sleep(o.Idle - 5*time.Millisecond + time.Duration(i)*time.Millisecond)
	}
}

// What the first caller was started with, as bash's "> >(tee log)" gives it, ends with that caller
// and not with the engine.
func TestEngineHoldsNoFileOfItsCaller(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe(ends[:]); err != nil { // without O_CLOEXEC, as from a shell
		t.Fatal(err)
	}
	read := os.NewFile(uintptr(ends[0]), "pipe")
	defer read.Close()
	ensure(t, enginetest.Options(enginetest.Home(t)))
	if err := unix.Close(ends[1]); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := read.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Errorf("the pipe ends with %v, want its end", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the engine holds a pipe that its caller was given")
	}
}

func TestEngineWithAClientIsNotIdle(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	o.Idle = 500 * time.Millisecond
	c, err := client.New(t.Context(), ensure(t, o))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(3 * o.Idle); time.Now().Before(end); time.Sleep(o.Idle / 3) {
		if _, err := c.Info(t.Context()); err != nil {
			t.Fatalf("the engine went away from its client: %v", err)
		}
	}
}

func TestInterruptOfTheClientLeavesTheEngine(t *testing.T) {
	home := enginetest.Home(t)
	o := enginetest.Options(home)
	cmd := exec.Command("/proc/self/exe", clientArg, home, "wait")
	// A process group of its own, as a terminal's foreground job has.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, _ := out.Read(line)
	if !strings.HasPrefix(string(line[:n]), "address ") {
		_ = cmd.Wait()
		_, err := engine.Ensure(t.Context(), o)
		enginetest.Skip(t, err)
		t.Fatalf("the client said %q, then: %v", line[:n], err)
	}
	t.Cleanup(func() { enginetest.Stop(t, o) })
	pid := pidOf(t, home)
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("client: %v", err)
	}
	ensure(t, o)
	if now := pidOf(t, home); now != pid {
		t.Errorf("after ^C the engine is %d, was %d", now, pid)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid == must(unix.Getsid(0)) {
		t.Errorf("the engine is in session %d (%v), which is this terminal's", sid, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
