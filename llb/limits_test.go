package llb_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/llb"
)

// limiting connects to an engine that keeps all limits.
func limiting(t *testing.T) *llb.Builder {
	t.Helper()
	b := connect(t)
	lacks, err := b.Unlimited(t.Context(), llb.Limits{Memory: 1 << 30, PIDs: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(lacks) > 0 {
		testneeds.Skip(t, "control groups here do not limit "+strings.Join(lacks, " and "))
	}
	return b
}

func TestLimitsEndSteps(t *testing.T) {
	w, b := newWorld(t), limiting(t)
	hog := sh("x", "eat memory", `cat /dev/zero > /big/zero`)
	hog.Tmpfs, hog.Limits = []string{"/big"}, llb.Limits{Memory: 64 << 20}
	bomb := sh("x", "fork", `i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done; wait`)
	bomb.Limits = llb.Limits{PIDs: 50}
	sleeper := sh("x", "sleep", `echo begun; sleep 61.875`)
	sleeper.Limits = llb.Limits{Time: 2 * time.Second}
	for _, c := range []struct {
		exec        llb.Exec
		limit, says string
	}{
		{hog, llb.LimitMemory, `layer x: step "eat memory": it used more than its 64 MiB of memory (limits.memory); raise`},
		{bomb, llb.LimitPIDs, `step "fork": it wanted more than its 50 processes and threads at once (limits.pids); raise`},
		{sleeper, llb.LimitTime, `step "sleep": it ran longer than 2s (limits.time), and was ended; raise limits.time`},
	} {
		t.Run(c.limit, func(t *testing.T) {
			beside := make(chan error, 1)
			go func() { // a step of another build, at the same time, in the same engine
				e := sh("y", "work beside "+c.limit, `for i in 1 2 3 4 5 6; do cat /dev/null; sleep 0.5; done; echo ok > /out/answer`)
				got, err := answer(t, b, w, e, llb.Session{})
				if err == nil && got != "ok\n" {
					err = errors.New("it wrote " + got)
				}
				beside <- err
			}()
			_, err := answer(t, b, w, c.exec, llb.Session{})
			if limit, ok := llb.Limited(err); !ok || limit != c.limit || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the step ended with %v (limit %q), want %q", err, limit, c.says)
			}
			if err := <-beside; err != nil {
				t.Errorf("a step beside it: %v", err)
			}
		})
	}
	var step *llb.StepError
	if _, err := answer(t, b, w, sleeper, llb.Session{}); !errors.As(err, &step) || len(step.Log) != 1 {
		t.Errorf("the step's output is lost: %+v", step)
	}
	if left := commandsWith(t, "61.875"); len(left) > 0 {
		t.Errorf("the step that was ended still runs: %q", left)
	}
}

// commandsWith are the command lines of running processes with a text, once they had time to end.
func commandsWith(t *testing.T, text string) (found []string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		found = nil
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), "\x00"+text+"\x00") {
				found = append(found, string(line))
			}
		}
		if len(found) == 0 || time.Now().After(end) {
			return found
		}
		runtime.Gosched()
	}
}

// A limit says nothing of what a step makes: the step is the same with it and without it, and comes from the cache.
func TestLimitsAreInNoKey(t *testing.T) {
	w, b := newWorld(t), connect(t)
	e := sh("x", "make noise", `od -An -N16 -tx1 /dev/urandom > /out/answer`)
	first, err := answer(t, b, w, e, llb.Session{})
	if err != nil {
		t.Fatal(err)
	}
	e.Limits = llb.Limits{Memory: 1 << 30, PIDs: 500, Time: time.Minute}
	if again, err := answer(t, b, w, e, llb.Session{}); err != nil || again != first {
		t.Errorf("with limits the step ran again (%v)", err)
	}
	made := func(e llb.Exec) string {
		st := llb.From(w.base).Make(e, llb.Output{Path: "/out", On: llb.Scratch()})
		d, err := llb.Image{Base: st, BaseLayers: []string{"x"}, Platform: amd64}.Marshal(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		return d.Digest().String()
	}
	without := e
	without.Limits = llb.Limits{}
	if made(e) != made(without) {
		t.Error("the graph has another digest with limits")
	}
	e.Limits.Memory = -1
	if err := llb.From(w.base).Run(e).Err(); err == nil {
		t.Error("a limit below 0 is taken")
	}
}

// The limits of a solve are those of commands without their own; processes have a limit without any word.
func TestLimitsOfASolve(t *testing.T) {
	w, b := newWorld(t), limiting(t)
	const ask = `for n in memory/memory.limit_in_bytes memory.max pids/pids.max pids.max; do
	[ ! -e /sys/fs/cgroup/$n ] || cat /sys/fs/cgroup/$n; done > /out/answer`
	for name, c := range map[string]struct {
		own, all llb.Limits
		want     []int64
	}{
		"of the solve": {all: llb.Limits{Memory: 128 << 20, PIDs: 70}, want: []int64{128 << 20, 70}},
		"one of its own": {own: llb.Limits{PIDs: 60}, all: llb.Limits{Memory: 96 << 20, PIDs: 70},
			want: []int64{96 << 20, 60}},
		"none: processes": {own: llb.Limits{Memory: 64 << 20},
			want: []int64{64 << 20, max(4096, int64(64*runtime.NumCPU()))}},
	} {
		e := sh("x", "ask "+name, ask)
		e.Limits, e.Fresh = c.own, true
		st := llb.From(w.base).Make(e, llb.Output{Path: "/out", On: llb.Scratch()})
		dir := t.TempDir()
		if err := b.Export(t.Context(), st, amd64, dir, llb.Session{}, llb.SolveOptions{Limits: c.all}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "answer"))
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, f := range strings.Fields(string(text)) {
			n, _ := strconv.ParseInt(f, 10, 64)
			got = append(got, n)
		}
		if len(got) != 2 || got[0] != c.want[0] || got[1] != c.want[1] {
			t.Errorf("%s: the step has the limits %q, want %d", name, text, c.want)
		}
	}
}
