package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

type options struct {
	dir, cache, registry string
	scale                pypi.Scale
	stdout               io.Writer
}

// printf tells the user. A closed stdout leaves nobody to tell.
func (o options) printf(format string, args ...any) { _, _ = fmt.Fprintf(o.stdout, format, args...) }

// state is what a running world leaves in its directory.
type state struct {
	PID int `json:"pid"`
	// Start is the process's start time in clock ticks since boot: with it a PID is this process and no other.
	Start string `json:"start"`
	// Addrs are those of mirror A, mirror B and the registry; the next world takes them again if it can.
	Addrs [3]string `json:"addrs"`
	Scale string    `json:"scale"`
}

func stateFile(dir string) string { return filepath.Join(dir, "state.json") }

// readState reads the state; nil without one.
func readState(dir string) (*state, error) {
	data, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read %q: %w: remove it if no world runs", stateFile(dir), err)
	}
	return s, nil
}

// startTime is the start time of a process (field 22 of /proc/PID/stat, proc(5)), "" if there is none.
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field, the name in parentheses, may have spaces in it.
	f := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(f) < 20 || string(f[0]) == "Z" {
		return ""
	}
	return string(f[19])
}

func (s *state) alive() bool { return s != nil && s.PID > 0 && startTime(s.PID) == s.Start }

func (s *state) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	urls := []string{s.Addrs[2] + "/v2/"}
	for _, mirror := range s.Addrs[:2] {
		if mirror != "" { // a registry may run alone
			urls = append(urls, mirror+"/_world/stats")
		}
	}
	for _, url := range urls {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+url, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}

func up(ctx context.Context, o options) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	o.dir = dir
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(o.dir, "up.lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("lock %q: %w", o.dir, err)
	}
	defer func() { _ = lock.Unlock() }() // it also goes with the process
	s, err := readState(o.dir)
	if err != nil {
		return err
	}
	if s.alive() && s.answers(ctx) {
		if s.Scale != string(o.scale) {
			return fmt.Errorf("start a world of scale %s: one of scale %s runs here: end it with make world-down",
				o.scale, s.Scale)
		}
		o.printf("the offline package world is up already (process %d); its variables are in %s\n", s.PID,
			filepath.Join(o.dir, "env"))
		return nil
	}
	return spawn(ctx, o)
}

// spawn starts serve as a process of its own and waits until it answers.
func spawn(ctx context.Context, o options) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	logFile := filepath.Join(o.dir, "world.log")
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	//nolint:noctx // it outlives this process
	cmd := exec.Command(exe, "serve", "--dir", o.dir, "--scale", string(o.scale), "--cache", o.cache)
	if o.registry != "" {
		_, port, _ := net.SplitHostPort(o.registry)
		cmd.Args = append(cmd.Args, "--registry-port", port)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the offline package world: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), cmd.Process.Signal(syscall.SIGTERM))
		case err := <-ended:
			text, _ := os.ReadFile(logFile)
			return fmt.Errorf("start the offline package world: it ended (%w); its log, %s, says:\n%s", err, logFile,
				strings.TrimSpace(string(text)))
		case <-tick.C:
		}
		s, err := readState(o.dir)
		if err != nil {
			return err
		}
		if s.alive() && s.PID == cmd.Process.Pid && s.answers(ctx) {
			o.printf("the offline package world is up (process %d): mirrors http://%s and http://%s, registry %s\n",
				s.PID, s.Addrs[0], s.Addrs[1], s.Addrs[2])
			o.printf("its variables are in %s; end it with make world-down\n", filepath.Join(o.dir, "env"))
			return nil
		}
	}
}

// down ends the world and a registry that runs without one.
func down(ctx context.Context, o options) error {
	ended := 0
	for _, part := range []struct{ name, dir string }{{"offline package world", o.dir},
		{"registry", registryDir(o.dir)}} {
		s, err := readState(part.dir)
		if err != nil {
			return err
		}
		if !s.alive() {
			continue
		}
		if err := s.end(ctx); err != nil {
			return err
		}
		ended++
		o.printf("the %s is down\n", part.name)
	}
	if ended == 0 {
		o.printf("the offline package world is not up\n")
	}
	return nil
}

// end ends the process, and waits until it has ended.
func (s *state) end(ctx context.Context) error {
	if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", s.PID, err)
	}
	limit := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.alive() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
				return fmt.Errorf("end process %d: %w", s.PID, err)
			}
		case <-tick.C:
		}
	}
	return nil
}

// serve runs a world until ctx ends.
func serve(ctx context.Context, o options) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := readState(dir)
	if err != nil {
		return err
	}
	wo := world.Options{Dir: dir, Cache: o.cache, Scale: o.scale, Log: os.Stderr}
	if old != nil {
		for i, addr := range old.Addrs {
			wo.Addrs[i] = ifFree(ctx, addr)
		}
	}
	if o.registry != "" {
		wo.Addrs[2] = o.registry
	}
	w, err := world.Start(ctx, wo)
	if err != nil {
		return err
	}
	if err := w.Write(dir); err != nil {
		return errors.Join(err, w.Close())
	}
	s := state{PID: os.Getpid(), Start: startTime(os.Getpid()), Scale: string(o.scale),
		Addrs: [3]string{strings.TrimPrefix(w.A.URL, "http://"), strings.TrimPrefix(w.B.URL, "http://"), w.Registry}}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(stateFile(dir)+".tmp", data, 0o644)
	}
	if err == nil {
		err = os.Rename(stateFile(dir)+".tmp", stateFile(dir))
	}
	if err != nil {
		return errors.Join(err, w.Close())
	}
	<-ctx.Done()
	return w.Close()
}

// ifFree is addr if one can listen there, else "".
func ifFree(ctx context.Context, addr string) string {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	if err := ln.Close(); err != nil {
		return ""
	}
	return addr
}
