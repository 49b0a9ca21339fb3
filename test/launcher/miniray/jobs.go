package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// jobs runs jobs as Ray's jobs API does: a shell in the head's container, with a log of its own. GET /test/sent says
// what was asked, and how many bytes of logs were sent.
type jobs struct {
	mu       sync.Mutex
	all      map[string]*job
	packages map[string][]byte
	whole    atomic.Int64 // how often a whole log was sent
	tails    atomic.Int64 // how often one was sent while it grew
	sent     atomic.Int64 // bytes
}

type job struct {
	Type    string         `json:"type"`
	ID      string         `json:"submission_id"`
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Code    *int           `json:"driver_exit_code"`
	Line    string         `json:"entrypoint"`
	Env     map[string]any `json:"runtime_env"`
	log     string
	process *os.Process
}

func (j *jobs) serve(mux *http.ServeMux, allowed func(http.ResponseWriter, *http.Request) bool) {
	j.all, j.packages = map[string]*job{}, map[string][]byte{}
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if allowed(w, r) {
				f(w, r)
			}
		})
	}
	handle("GET /api/packages/gcs/{name}", j.servePackage)
	handle("PUT /api/packages/gcs/{name}", j.servePackage)
	handle("POST /api/jobs/{$}", j.submit)
	handle("GET /api/jobs/{$}", func(w http.ResponseWriter, _ *http.Request) {
		list := []job{}
		j.mu.Lock()
		for _, one := range j.all {
			list = append(list, *one)
		}
		j.mu.Unlock()
		_ = json.NewEncoder(w).Encode(list) // who asked may have left
	})
	handle("GET /api/jobs/{id}", j.with(func(w http.ResponseWriter, _ *http.Request, one job) {
		_ = json.NewEncoder(w).Encode(one) // who asked may have left
	}))
	handle("GET /api/jobs/{id}/logs", j.with(func(w http.ResponseWriter, _ *http.Request, one job) {
		j.whole.Add(1)
		data, err := os.ReadFile(one.log)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		j.sent.Add(int64(len(data)))
		_ = json.NewEncoder(w).Encode(map[string]string{"logs": string(data)}) // who asked may have left
	}))
	handle("GET /api/jobs/{id}/logs/tail", j.with(j.tail))
	handle("POST /api/jobs/{id}/stop", j.with(func(w http.ResponseWriter, _ *http.Request, one job) {
		stopped := one.Status == "RUNNING"
		if stopped {
			j.end(one.ID, "STOPPED", nil)
			_ = one.process.Kill() // it may have ended
		}
		fmt.Fprintf(w, `{"stopped": %v}`, stopped)
	}))
	handle("GET /test/sent", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"whole": %d, "tails": %d, "sent": %d, "memory": %d}`, j.whole.Load(), j.tails.Load(),
			j.sent.Load(), peakMemory())
	})
}

// with finds the job that a path names.
func (j *jobs) with(f func(http.ResponseWriter, *http.Request, job)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		one, ok := j.get(r.PathValue("id"))
		if !ok {
			http.Error(w, "Job does not exist", http.StatusNotFound)
			return
		}
		f(w, r, one)
	}
}

func (j *jobs) get(id string) (job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one, ok := j.all[id]
	if !ok {
		return job{}, false
	}
	return *one, true
}

func (j *jobs) submit(w http.ResponseWriter, r *http.Request) {
	one := &job{}
	if err := json.NewDecoder(r.Body).Decode(one); err != nil || one.Line == "" {
		http.Error(w, "entrypoint must be a string", http.StatusBadRequest)
		return
	}
	if one.ID == "" {
		one.ID = "raysubmit_" + random()
	}
	one.Type, one.Status, one.log = "SUBMISSION", "RUNNING", "/job-"+one.ID+".log"
	if err := j.start(one); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"submission_id": %q}`, one.ID)
}

// start runs a job's program in the directory that was sent.
func (j *jobs) start(one *job) error {
	log, err := os.Create(one.log)
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", one.Line)
	cmd.Stdout, cmd.Stderr = log, log
	if uri, ok := one.Env["working_dir"].(string); ok {
		if cmd.Dir, err = j.unpack(uri); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	one.process = cmd.Process
	j.mu.Lock()
	j.all[one.ID] = one
	j.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the exit code says it
		code := cmd.ProcessState.ExitCode()
		if code != 0 {
			j.end(one.ID, "FAILED", &code)
			return
		}
		j.end(one.ID, "SUCCEEDED", &code)
	}()
	return nil
}

func (j *jobs) end(id, status string, code *int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if one := j.all[id]; one.Status == "RUNNING" {
		one.Status, one.Code = status, code
	}
}

// tail sends a log from its beginning, until its job has ended.
func (j *jobs) tail(w http.ResponseWriter, r *http.Request, one job) {
	j.tails.Add(1)
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow() //nolint:errcheck // what counts was sent
	log, err := os.Open(one.log)
	if err != nil {
		return
	}
	defer log.Close()
	buf := make([]byte, 64<<10)
	for ended := false; ; time.Sleep(20 * time.Millisecond) {
		for {
			n, err := log.Read(buf)
			if err == io.EOF {
				break
			}
			if err != nil || c.Write(r.Context(), websocket.MessageText, buf[:n]) != nil {
				return
			}
			j.sent.Add(int64(n))
		}
		if ended {
			c.Close(websocket.StatusNormalClosure, "")
			return
		}
		now, _ := j.get(one.ID)
		ended = now.Status != "RUNNING"
	}
}
