package raybuild

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// OptionError says which option makes no sense. Nothing was done.
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

// Unwrap returns the cause.
func (e *OptionError) Unwrap() error { return e.Err }

func optionErrorf(field, format string, args ...any) error {
	return &OptionError{Field: field, Err: fmt.Errorf(format, args...)}
}

// InterruptedError says that a call's context ended before the call was done. [errors.Is] also
// finds context.Canceled or context.DeadlineExceeded in it.
type InterruptedError struct {
	// State says how far the call got, and what another call can reuse.
	State string
	// Err is what the call ended with.
	Err error
}

func (e *InterruptedError) Error() string { return "interrupted; " + e.State }

// Unwrap returns the cause.
func (e *InterruptedError) Unwrap() error { return e.Err }

// StaleLockError says that the lock does not fit the recipe and must not be changed.
type StaleLockError struct {
	// Lock is the lock's file as the options name it. "": the lock is an image's.
	Lock string
	// Layers are the layers that the lock does not fit. None: there is no lock.
	Layers []StaleLayer
}

func (e *StaleLockError) Error() string {
	if len(e.Layers) == 0 {
		return fmt.Sprintf("there is no lock %q: write it with raybuild lock, and put it under version control", e.Lock)
	}
	return fmt.Sprintf("lock %q does not fit the recipe:%s\nupdate it with raybuild lock, and put it under version "+
		"control", e.Lock, staleText(e.Layers))
}

// StaleLayer is a layer that a lock does not fit.
type StaleLayer struct {
	Platform string `json:"platform"` // os/arch
	Layer    string `json:"layer"`    // its name
	Why      string `json:"why"`      // the reason, in words
}

func staleLayers(all []layers.StaleLayer) []StaleLayer {
	out := []StaleLayer{}
	for _, s := range all {
		out = append(out, StaleLayer(s))
	}
	return out
}

// staleText returns one line for each layer.
func staleText(stale []StaleLayer) string {
	var b strings.Builder
	for _, s := range stale {
		fmt.Fprintf(&b, "\n  %s, %s: %s", s.Layer, s.Platform, s.Why)
	}
	return b.String()
}

// NoRecordError says that an image lacks the documents that raybuild attaches to an image that it
// pushes. Raybuild did not push the image, or someone copied it without its referrers.
type NoRecordError struct {
	Image string // the image as the caller named it
	// Missing says in words what the image lacks.
	Missing string
	// Instead says in words what to do instead.
	Instead string
}

func (e *NoRecordError) Error() string {
	return fmt.Sprintf("image %q carries no %s: it was not pushed by this raybuild, or copied without its "+
		"referrers; %s", e.Image, e.Missing, e.Instead)
}

func noRecord(ref string) error {
	return &NoRecordError{ref, "record of its inputs", "raybuild diff compares layers and locks"}
}

// RegistryError says that a request to a registry failed.
type RegistryError struct {
	Host   string // the registry's host, with port
	Status int    // HTTP status of its answer; 0: it did not answer
	Err    error
}

func (e *RegistryError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RegistryError) Unwrap() error { return e.Err }

// public converts the error of an exported function into the types of this package. The
// error's text stays the same.
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

// interrupted returns the error of a call whose context has ended.
func interrupted(ctx context.Context, state string, err error) error {
	if stopped := (*InterruptedError)(nil); errors.As(err, &stopped) {
		return err
	}
	return &InterruptedError{State: state, Err: errors.Join(context.Cause(ctx), ctx.Err(), err)}
}
