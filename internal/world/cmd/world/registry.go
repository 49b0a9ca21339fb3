package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// registryDir has the state of a registry that runs without a world: the quickstart's, where it
// builds from the internet.
func registryDir(dir string) string { return filepath.Join(dir, "registry-only") }

// registryUp runs `raybuild registry serve` in the background, if it does not run, and prints its address.
func registryUp(ctx context.Context, o options, raybuild string) error {
	dir, err := filepath.Abs(registryDir(o.dir))
	if err != nil {
		return err
	}
	if raybuild, err = filepath.Abs(raybuild); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, "up.lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("lock %q: %w", dir, err)
	}
	defer func() { _ = lock.Unlock() }() // it also goes with the process
	s, err := readState(dir)
	if err != nil {
		return err
	}
	if s.alive() && s.answers(ctx) {
		o.printf("%s\n", s.Addrs[2])
		return nil
	}
	addr := ""
	if s != nil {
		addr = ifFree(ctx, s.Addrs[2])
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	started, err := spawnRegistry(dir, raybuild, addr)
	if err != nil {
		return fmt.Errorf("start a registry: %w", err)
	}
	data, err := json.Marshal(started)
	if err == nil {
		err = os.WriteFile(stateFile(dir), data, 0o644)
	}
	if err != nil {
		return errors.Join(err, syscall.Kill(started.PID, syscall.SIGTERM))
	}
	o.printf("%s\n", started.Addrs[2])
	return nil
}

// spawnRegistry starts the process and waits for the line with its address.
func spawnRegistry(dir, raybuild, addr string) (*state, error) {
	logFile := filepath.Join(dir, "registry.log")
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	//nolint:noctx // it outlives this process
	cmd := exec.Command(raybuild, "registry", "serve", "--dir", filepath.Join(dir, "images"), addr)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: see its log, %s", errors.Join(err, cmd.Process.Kill(), cmd.Wait()), logFile)
	}
	pid := cmd.Process.Pid
	return &state{PID: pid, Start: startTime(pid), Addrs: [3]string{2: strings.TrimSpace(line)}}, nil
}
