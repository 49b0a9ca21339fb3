package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// fakeJobs is the jobs API of a head. It has one job, raysubmit_1, whose log is line(0), line(1), …
type fakeJobs struct {
	lines  int           // of the log
	pace   time.Duration // between two lines
	code   int           // that the job ends with
	old    bool          // there is no websocket
	abrupt bool          // the websocket has no closing frame
	stuck  bool          // the websocket does not end with the job
	width  int           // of a line; 0: short

	mu       sync.Mutex
	cuts     []int  // after how many lines the websocket is cut, one after the other
	cut      func() // how; default: the websocket's connection ends
	began    time.Time
	got      map[string]any // the last job that was submitted
	stopped  bool
	packages map[string][]byte
	asked    []string
	attached atomic.Int64
	sent     atomic.Int64 // bytes of log
}

func (j *fakeJobs) line(i int) string {
	return fmt.Sprintf("line %d é\t%s\n", i, strings.Repeat("x", j.width))
}

// text is the whole log.
func (j *fakeJobs) text() string {
	var b strings.Builder
	for i := range j.lines {
		b.WriteString(j.line(i))
	}
	return b.String()
}

// written is how many lines the job has written, and whether it has ended.
func (j *fakeJobs) written() (int, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pace == 0 {
		return j.lines, true
	}
	n := int(time.Since(j.began) / j.pace)
	return min(n, j.lines), n > j.lines || j.stopped
}

// set changes the job while requests run.
func (j *fakeJobs) set(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

func (j *fakeJobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	j.asked = append(j.asked, r.Method+" "+r.URL.Path)
	j.mu.Unlock()
	switch path := r.Method + " " + r.URL.Path; {
	case strings.HasPrefix(r.URL.Path, "/api/packages/"):
		j.servePackage(w, r)
	case path == "POST /api/jobs/":
		j.mu.Lock()
		defer j.mu.Unlock()
		j.began = time.Now()
		if err := json.NewDecoder(r.Body).Decode(&j.got); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"submission_id": "raysubmit_1"}`)
	case path == "GET /api/jobs/":
		fmt.Fprintf(w, `[{"job_id": "01000000", "type": "DRIVER", "status": "RUNNING"}, %s]`, j.status())
	case path == "GET /api/jobs/raysubmit_1":
		fmt.Fprint(w, j.status())
	case path == "GET /api/jobs/raysubmit_1/logs":
		j.serveWhole(w)
	case path == "GET /api/jobs/raysubmit_1/logs/tail" && !j.old:
		j.serveTail(w, r)
	case path == "POST /api/jobs/raysubmit_1/stop":
		_, ended := j.written()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.stopped = true
		fmt.Fprintf(w, `{"stopped": %v}`, !ended)
	default:
		http.Error(w, "404: Not Found", http.StatusNotFound)
	}
}

func (j *fakeJobs) status() string {
	_, ended := j.written()
	status, code := "RUNNING", "null"
	if ended {
		status, code = "SUCCEEDED", "0"
		if j.code != 0 {
			status, code = "FAILED", fmt.Sprint(j.code)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.stopped {
			status, code = "STOPPED", "null"
		}
	}
	return fmt.Sprintf(`{"submission_id": "raysubmit_1", "job_id": "02000000", "type": "SUBMISSION", "status": %q, `+
		`"message": "it is \u001b[1m%[1]s", "driver_exit_code": %s, "entrypoint": "python train.py", `+
		`"start_time": 1700000000000, "metadata": {"who": "me"}}`, status, code)
}

func (j *fakeJobs) servePackage(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Method == http.MethodPut {
		if j.packages == nil {
			j.packages = map[string][]byte{}
		}
		j.packages[r.URL.Path] = data
		return
	}
	if _, ok := j.packages[r.URL.Path]; !ok {
		http.Error(w, "Package does not exist", http.StatusNotFound)
	}
}

// serveWhole answers as old Rays do: with all of the log.
func (j *fakeJobs) serveWhole(w http.ResponseWriter) {
	n, _ := j.written()
	fmt.Fprint(w, `{"more": {"a": [1]}, "logs": "`)
	for i := range n {
		line, err := json.Marshal(j.line(i))
		if err != nil {
			return
		}
		line = bytes.ReplaceAll(line, []byte("é"), []byte(`\u00e9`))
		if _, err := w.Write(line[1 : len(line)-1]); err != nil {
			return
		}
		j.sent.Add(int64(len(line)))
	}
	fmt.Fprint(w, `"}`)
}

// serveTail sends the log from its beginning, and what comes, until the job has ended.
func (j *fakeJobs) serveTail(w http.ResponseWriter, r *http.Request) {
	j.attached.Add(1)
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow() //nolint:errcheck // what counts was sent
	limit, cut, stuck := -1, func() {}, false
	j.set(func() {
		if len(j.cuts) > 0 {
			limit, j.cuts = j.cuts[0], j.cuts[1:]
		}
		if j.cut != nil {
			cut = j.cut
		}
		stuck = j.stuck
	})
	for i := 0; ; {
		n, ended := j.written()
		for ; i < n; i++ {
			if i == limit {
				cut()
				return
			}
			line := []byte(j.line(i))
			if c.Write(r.Context(), websocket.MessageText, line) != nil {
				return
			}
			j.sent.Add(int64(len(line)))
		}
		switch {
		case ended && stuck:
			<-r.Context().Done()
			return
		case ended && j.abrupt:
			return
		case ended:
			c.Close(websocket.StatusNormalClosure, "")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// jobFleet is a cluster of one node that has a jobs API.
func jobFleet(t *testing.T, j *fakeJobs) (*fakeFleet, *Spec) {
	t.Helper()
	f := newFleet(t, 1)
	f.jobs.Store(j)
	spec := f.spec(t, fleetImage, 1)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	return f, spec
}

// TestFollowShowsEachByteOnce follows a job's log over whatever happens on the way.
func TestFollowShowsEachByteOnce(t *testing.T) {
	t.Parallel()
	for name, j := range map[string]*fakeJobs{
		"a websocket":                 {lines: 100, pace: 5 * time.Millisecond, code: 3},
		"a job that ends at once":     {lines: 5, code: 3},
		"a job without a word":        {code: 3},
		"a websocket that is cut":     {lines: 100, pace: 5 * time.Millisecond, code: 3, cuts: []int{0, 9, 10, 50}},
		"no closing frame":            {lines: 20, pace: 5 * time.Millisecond, code: 3, abrupt: true},
		"cut after the job's end":     {lines: 50, code: 3, cuts: []int{20, 30, 20}},
		"an old Ray":                  {lines: 100, pace: 5 * time.Millisecond, code: 3, old: true},
		"an old Ray's job of the end": {lines: 5, code: 3, old: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, spec := jobFleet(t, j)
			var out, log strings.Builder
			o := f.options()
			o.Log = &log
			res, err := Submit(t.Context(), spec, Job{Argv: []string{"true"}}, &out, io.Discard, o)
			if err != nil || res.Status != "FAILED" || res.ExitCode != 3 {
				t.Fatalf("%+v, %v\n%s", res, err, log.String())
			}
			if out.String() != j.text() {
				t.Errorf("%d bytes are shown, the log has %d:\n%.300s", out.Len(), len(j.text()), out.String())
			}
			if strings.ContainsRune(res.Message, 0x1b) {
				t.Errorf("the message is not safe to show: %q", res.Message)
			}
			if !j.old && len(j.cuts) == 0 && name == "a websocket" &&
				(j.attached.Load() != 1 || j.sent.Load() != int64(len(j.text()))) {
				t.Errorf("%d bytes were sent in %d websockets, the log has %d", j.sent.Load(), j.attached.Load(),
					len(j.text()))
			}
		})
	}
}

// TestFollowConnectsAgain loses the SSH connection twice while a job runs.
func TestFollowConnectsAgain(t *testing.T) {
	t.Parallel()
	j := &fakeJobs{lines: 60, pace: 10 * time.Millisecond, code: 4, cuts: []int{10, 30}}
	f, spec := jobFleet(t, j)
	j.set(func() { j.cut = f.servers[0].Cut })
	var out, log strings.Builder
	o := f.options()
	o.Log = &log
	res, err := Submit(t.Context(), spec, Job{Argv: []string{"true"}}, &out, io.Discard, o)
	if err != nil || res.ExitCode != 4 || out.String() != j.text() {
		t.Errorf("%+v, %v, %d bytes of %d\n%s", res, err, out.Len(), len(j.text()), log.String())
	}
	if strings.Count(log.String(), "connected again") != 2 {
		t.Errorf("it does not say that it connected again:\n%s", log.String())
	}
}

// TestFollowEndsWithItsJob has websockets that go on after the job's end, and a host that stays away.
func TestFollowEndsWithItsJob(t *testing.T) {
	t.Parallel()
	j := &fakeJobs{lines: 3, stuck: true, code: 3}
	f, spec := jobFleet(t, j)
	follow := func(patience time.Duration, asked func()) (*JobResult, error) {
		l := newLaunch(spec, f.options())
		defer l.close()
		r, err := l.askHead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		asked()
		job := &JobResult{ID: "raysubmit_1"}
		w := l.follower(r, job, io.Discard)
		defer w.close()
		w.quiet, w.patience = 50*time.Millisecond, patience
		return job, w.run(t.Context())
	}
	if job, err := follow(time.Minute, func() {}); err != nil || job.ExitCode != 3 {
		t.Errorf("a websocket that does not end: %+v, %v", job, err)
	}
	j.set(func() { j.stuck, j.pace, j.lines, j.began = false, time.Hour, 1, time.Now() })
	job, err := follow(time.Second, func() { time.AfterFunc(300*time.Millisecond, f.servers[0].Close) })
	var goesOn *UnfollowedJobError
	if !errors.As(err, &goesOn) || job.Status != "RUNNING" && job.Status != "" {
		t.Errorf("a host that stays away: %+v, %v", job, err)
	}
}

// peak writes nothing, and remembers the most memory that was in use.
type peak struct {
	bytes, next int64
	most        uint64
}

func (p *peak) Write(b []byte) (int, error) {
	if p.bytes += int64(len(b)); p.bytes >= p.next {
		p.next += 8 << 20
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.most = max(p.most, m.HeapAlloc)
	}
	return len(b), nil
}

// TestFollowHoldsAPieceOfTheLog has a log of more than what an answer of Ray may have else.
func TestFollowHoldsAPieceOfTheLog(t *testing.T) { //nolint:paralleltest // it measures memory
	for name, old := range map[string]bool{"a websocket": false, "an old Ray": true} {
		j := &fakeJobs{lines: 1200, width: 64 << 10, old: old, code: 3} // 75 MiB
		f, spec := jobFleet(t, j)
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		p := &peak{}
		res, err := Submit(t.Context(), spec, Job{Argv: []string{"true"}}, p, io.Discard, f.options())
		if err != nil || res.ExitCode != 3 || p.bytes != int64(len(j.text())) {
			t.Errorf("%s: %+v, %v, %d bytes of %d", name, res, err, p.bytes, len(j.text()))
		}
		used := int64(p.most) - int64(before.HeapAlloc)
		t.Logf("%s: %d MiB of log, at most %d MiB of memory more", name, p.bytes>>20, used>>20)
		if used > 32<<20 {
			t.Errorf("%s: %d MiB of memory for %d MiB of log", name, used>>20, p.bytes>>20)
		}
	}
}

// FuzzCopyJSONString: a log comes out as encoding/json decodes it, wherever the answer is cut into pieces.
func FuzzCopyJSONString(f *testing.F) {
	for _, s := range []string{`{"logs": "a\n\u00e9\ud83d\ude00\"\\\/"}`, `{"x": {"logs": 1}, "logs" : "b"}`,
		`{"logs": "\ud83d\u0041\ud83dx\udc00"}`, `{"logs": null}`, `{"logs": "a`, `[]`, `{}`, "{\"logs\": \"\xff\"}",
		`{"logs": "\ud83d\ud83d\ude00"}`, `{"logs": "\q"}`, `{"logs": "\u12"}`, `{"logs": "a" "b"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got strings.Builder
		err := copyJSONString(&got, &slowReader{s}, "logs")
		var want struct{ Logs *string }
		if json.Unmarshal([]byte(s), &want) != nil || want.Logs == nil {
			return // what it makes of broken answers matters little, as long as it ends
		}
		if strings.Count(strings.ToLower(s), "logs") > 1 || !strings.Contains(s, `"logs"`) {
			return // encoding/json takes LOGS for it, too, and the last of several
		}
		if err != nil || got.String() != *want.Logs {
			t.Errorf("%q: got %q, %v, want %q", s, got.String(), err, *want.Logs)
		}
	})
}

// slowReader gives a byte at a time.
type slowReader struct{ s string }

func (r *slowReader) Read(p []byte) (int, error) {
	if r.s == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], r.s)
	r.s = r.s[n:]
	return n, nil
}
