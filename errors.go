package raybuild

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// OptionError is an option that makes no sense. Nothing was done.
type OptionError struct {
	// Field is the option's name in [Options], [BuildOptions] or another struct of options, such as
	// "Compression". "": it is an argument.
	Field string
	// Err says what is wrong, beginning with the option's value.
	Err error
}

func (e *OptionError) Error() string {
	if e.Field == "" {
		return e.Err.Error()
	}
	return e.Field + " " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *OptionError) Unwrap() error { return e.Err }

func optionErrorf(field, format string, args ...any) error {
	return &OptionError{Field: field, Err: fmt.Errorf(format, args...)}
}

// InterruptedError is a call whose context ended before its work. It is context.Canceled or
// context.DeadlineExceeded, too ([errors.Is]).
type InterruptedError struct {
	// State says how far the call had come, and what another call finds.
	State string
	// Err is what the call ended with.
	Err error
}

func (e *InterruptedError) Error() string { return "interrupted; " + e.State }

// Unwrap gives the cause.
func (e *InterruptedError) Unwrap() error { return e.Err }

// StaleLockError is a lock that does not fit the recipe, where it must not change.
type StaleLockError struct {
	// Lock is the lock's file as the options name it; "": an image's.
	Lock string
	// Layers are those that the lock does not answer. None: there is no lock.
	Layers []StaleLayer
}

func (e *StaleLockError) Error() string {
	if len(e.Layers) == 0 {
		return fmt.Sprintf("there is no lock %q: write it with raybuild lock, and put it under version control", e.Lock)
	}
	return fmt.Sprintf("lock %q does not fit the recipe:%s\nupdate it with raybuild lock, and put it under version "+
		"control", e.Lock, staleText(e.Layers))
}

// StaleLayer is a layer that a lock does not answer.
type StaleLayer struct {
	Platform string `json:"platform"` // os/arch
	Layer    string `json:"layer"`    // its name
	Why      string `json:"why"`      // in words
}

func staleLayers(all []layers.StaleLayer) []StaleLayer {
	out := []StaleLayer{}
	for _, s := range all {
		out = append(out, StaleLayer(s))
	}
	return out
}

// staleText has one line for each layer.
func staleText(stale []StaleLayer) string {
	var b strings.Builder
	for _, s := range stale {
		fmt.Fprintf(&b, "\n  %s, %s: %s", s.Layer, s.Platform, s.Why)
	}
	return b.String()
}

// NoRecordError is an image without the documents that raybuild stores beside an image that it pushes. It was not
// pushed by raybuild, or copied without its referrers.
type NoRecordError struct {
	Image string // as it was named
	// Missing says in words what the image does not carry.
	Missing string
	// Instead says in words what to do.
	Instead string
}

func (e *NoRecordError) Error() string {
	return fmt.Sprintf("image %q carries no %s: it was not pushed by this raybuild, or copied without its "+
		"referrers; %s", e.Image, e.Missing, e.Instead)
}

func noRecord(ref string) error {
	return &NoRecordError{ref, "record of its inputs", "raybuild diff compares layers and locks"}
}

// RegistryError is a registry that did not do what it was asked to.
type RegistryError struct {
	Host   string // of the registry, with port
	Status int    // HTTP status of its answer; 0: there was none
	Err    error
}

func (e *RegistryError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RegistryError) Unwrap() error { return e.Err }

// public gives an error the types of this package, as a call ends with it. Its text stays as it is.
func public(ctx context.Context, err *error) {
	if *err == nil {
		return
	}
	var answer *registry.Error
	if errors.As(*err, &answer) {
		*err = &RegistryError{Host: answer.Host, Status: answer.Status, Err: *err}
	}
	if ctx.Err() != nil {
		*err = interrupted(ctx, "run again to continue", *err)
	}
}

// interrupted is the error of a call whose context has ended.
func interrupted(ctx context.Context, state string, err error) error {
	if stopped := (*InterruptedError)(nil); errors.As(err, &stopped) {
		return err
	}
	return &InterruptedError{State: state, Err: errors.Join(context.Cause(ctx), ctx.Err(), err)}
}
