package engine

import "errors"

// Kinds of an [Error], for errors.Is.
var (
	// ErrUnsupported: this operating system has no embedded engine.
	ErrUnsupported = errors.New("no embedded engine on this operating system")
	// ErrNoRuntime: neither runc nor crun is on PATH.
	ErrNoRuntime = errors.New("no container runtime")
	// ErrNoPrivilege: not root, and no user namespace that could stand in.
	ErrNoPrivilege = errors.New("neither root nor a rootless user namespace")
	// ErrNoSpace: Home's disk lacks bytes or inodes.
	ErrNoSpace = errors.New("not enough disk")
	// ErrInUse: another process holds the state directory and does not answer.
	ErrInUse = errors.New("state directory in use")
	// ErrStart: the engine process ended before it answered.
	ErrStart = errors.New("embedded engine did not start")
)

// Error says why there is no engine, and what to do about it.
type Error struct {
	Kind   error  // one of the Err… values
	Detail string // the cause, with the path or program that it is about
	Fix    string // the next step, mostly a command; may be empty
}

// Error gives the kind, the cause and the next step in one line.
func (e *Error) Error() string {
	s := e.Kind.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// fixSpace is the next step where a disk is full.
const fixSpace = "free some space, run `raybuild cache prune --all`, or set RAYBUILD_HOME to another disk"
