package engine

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"
)

// stage is how far an engine's process has come into namespaces of its own.
type stage int

const (
	stageHost      stage = iota // in the caller's namespaces
	stageOwnMounts              // root, in a mount namespace of its own
	stageMapped                 // in a new user namespace, waiting for its id maps
	stageRootless               // root of that namespace
)

// listFlag collects a flag that may be given several times.
type listFlag []string

func (l *listFlag) String() string     { return fmt.Sprint([]string(*l)) }
func (l *listFlag) Set(s string) error { *l = append(*l, s); return nil }

// ParseServeArgs reads the arguments that Ensure gives the hidden subcommand, without the
// name of the subcommand.
func ParseServeArgs(args []string) (ServeOptions, error) {
	var o ServeOptions
	fs := flag.NewFlagSet("engine-serve", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.Dir, "dir", "", "")
	fs.StringVar(&o.Socket, "socket", "", "")
	fs.DurationVar(&o.Idle, "idle", 0, "")
	fs.Int64Var(&o.CacheLimit, "cache-limit", 0, "")
	fs.Var((*listFlag)(&o.Insecure), "insecure", "")
	fs.Var((*listFlag)(&o.CertDirs), "certs", "")
	fs.StringVar(&o.Trees, "trees", "", "")
	fs.IntVar(&o.ReadyFD, "ready-fd", 0, "")
	fs.IntVar((*int)(&o.stage), "stage", 0, "")
	if err := fs.Parse(args); err != nil {
		return o, fmt.Errorf("read arguments of the engine %q: %w", args, err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("read arguments of the engine: %q is none", fs.Arg(0))
	}
	return o, o.validate()
}

// validate reports what no engine can be served with.
func (o ServeOptions) validate() error {
	switch {
	case o.Dir == "" || o.Socket == "":
		return errors.New("serve engine: -dir and -socket are required; this command is started by raybuild itself")
	case len(o.Socket) > maxSocketPath:
		return fmt.Errorf("serve engine: socket path %q is longer than %d bytes", o.Socket, maxSocketPath)
	case o.Idle < 0 || o.CacheLimit < 0:
		return fmt.Errorf("serve engine: idle %v and cache limit %d must not be negative", o.Idle, o.CacheLimit)
	case o.stage < stageHost || o.stage > stageRootless:
		return fmt.Errorf("serve engine: no stage %d", o.stage)
	}
	return nil
}

// args is the inverse of ParseServeArgs.
func (o ServeOptions) args() []string {
	a := []string{"-dir", o.Dir, "-socket", o.Socket}
	if o.Idle > 0 {
		a = append(a, "-idle", o.Idle.Round(time.Millisecond).String())
	}
	if o.CacheLimit > 0 {
		a = append(a, "-cache-limit", strconv.FormatInt(o.CacheLimit, 10))
	}
	for _, h := range o.Insecure {
		a = append(a, "-insecure", h)
	}
	for _, d := range o.CertDirs {
		a = append(a, "-certs", d)
	}
	if o.Trees != "" {
		a = append(a, "-trees", o.Trees)
	}
	if o.ReadyFD > 0 {
		a = append(a, "-ready-fd", strconv.Itoa(o.ReadyFD))
	}
	if o.stage != stageHost {
		a = append(a, "-stage", strconv.Itoa(int(o.stage)))
	}
	return a
}
