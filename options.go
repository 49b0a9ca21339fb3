package raybuild

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Options say where a project is, what it is built with, and who is told. The zero value is the
// recipe raybuild.yaml of the working directory, or the default recipe where there is none, built
// by the first builder that is there.
type Options struct {
	// Dir is what relative paths are relative to. Default: the process's working directory.
	Dir string
	// Recipe is the recipe's file. Default: raybuild.yaml, which need not be there.
	Recipe string
	// Lock is the lock's file. Default: the recipe's with the ending .lock.
	Lock string
	// Set overrides keys of the recipe, as KEY=VALUE: a dotted key, a value as YAML. Where it does,
	// the lock that it leads to is kept in Home, unless Lock is given.
	Set []string
	// Platforms are built, as os/arch. Default: the recipe's.
	Platforms []string

	// Layers are a program's own, on top of the recipe's, in this order. One that is made of
	// artifacts is a [layers.LockedLayer].
	Layers []layers.Layer

	// Builder is the address of a BuildKit, "docker" for the Docker Engine's own, "buildx" for
	// buildx's current builder, or the name of one of buildx's. Default: $BUILDKIT_HOST, else
	// $BUILDX_BUILDER, else the embedded engine, else Docker's.
	Builder string
	// InsecureRegistries are HOST or HOST:PORT of registries that may be spoken to over plain HTTP or with an unknown
	// certificate. Loopback always may.
	InsecureRegistries []string
	// Home is raybuild's own directory: fetched artifacts, the embedded engine's state. Default: $RAYBUILD_HOME, else
	// raybuild in the user's cache directory.
	Home string
	// Getenv gives the environment's variables: BUILDKIT_HOST, DOCKER_CONFIG, and those by which pip, uv and conda are
	// configured for mirrors.fetch: host. Default: os.Getenv.
	Getenv func(string) string
	// Created is the image's time. Default: that of the lock.
	Created time.Time

	// Log is told what happens, in one line each. It may be called by several goroutines at once. Default: nobody is.
	Log func(Event)
	// Progress is how steps are shown on ProgressTo. Default: [llb.ProgressAuto].
	Progress llb.ProgressMode
	// ProgressTo is where they are shown. Default: nowhere.
	ProgressTo io.Writer
}

// EventKind is how much an event matters.
type EventKind string

// Kinds of events.
const (
	Info    EventKind = ""        // what is being done
	Note    EventKind = "note"    // what is good to know
	Warning EventKind = "warning" // what is not as it should be; the work goes on
)

// Event is one line of what happens.
type Event struct {
	Kind EventKind
	Text string
}

// String is the line with its kind: "warning: …".
func (e Event) String() string {
	if e.Kind == Info {
		return e.Text
	}
	return string(e.Kind) + ": " + e.Text
}

// homeDir is raybuild's own directory, as an absolute path. It need not be there.
func (o Options) homeDir() (string, error) {
	dir := o.Home
	if dir == "" {
		dir = o.getenv("RAYBUILD_HOME")
	}
	if dir == "" {
		cache := o.getenv("XDG_CACHE_HOME")
		if cache == "" || !filepath.IsAbs(cache) {
			user := o.getenv("HOME")
			if user == "" {
				return "", errors.New("find raybuild's directory: neither RAYBUILD_HOME nor HOME is set: " +
					"set one of them")
			}
			cache = filepath.Join(user, ".cache")
		}
		dir = filepath.Join(cache, "raybuild")
	}
	dir, err := filepath.Abs(o.path(dir))
	if err != nil {
		return "", fmt.Errorf("find raybuild's directory: %w", err)
	}
	return dir, nil
}

// MakeHome is Options.Home, made with access for its owner alone.
func (o Options) MakeHome() (string, error) {
	dir, err := o.homeDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make raybuild's directory: %w: set RAYBUILD_HOME to one that can be written", err)
	}
	return dir, nil
}

func (o Options) getenv(name string) string {
	if o.Getenv == nil {
		return os.Getenv(name)
	}
	return o.Getenv(name)
}

// path makes a path absolute that is relative to Dir.
func (o Options) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(o.Dir, p)
}

// recipe is the recipe's file as it is named in messages.
func (o Options) recipe() string {
	if o.Recipe == "" {
		return "raybuild.yaml"
	}
	return o.Recipe
}

// lock is the lock's file as it is named in messages.
func (o Options) lock() string {
	if o.Lock != "" {
		return o.Lock
	}
	return strings.TrimSuffix(o.recipe(), filepath.Ext(o.recipe())) + ".lock"
}

// builder are the options as those of a builder.
func (o Options) builder() builder.Options {
	return builder.Options{
		Name: o.Builder, Insecure: o.InsecureRegistries, Home: o.MakeHome, Getenv: o.getenv, Notes: o.ProgressTo,
	}
}

// env is what all parts of a project share: the options, and what this machine is configured with.
type env struct {
	Options
	host func() hostconf.Config // read once
}

func newEnv(o Options) *env {
	return &env{
		Options: o, host: sync.OnceValue(func() hostconf.Config { return hostconf.Read(hostconf.This(o.getenv)) }),
	}
}

func (e *env) event(kind EventKind, format string, args ...any) {
	if e.Log != nil {
		e.Log(Event{kind, fmt.Sprintf(format, args...)})
	}
}

func (e *env) info(format string, args ...any) { e.event(Info, format, args...) }
func (e *env) note(format string, args ...any) { e.event(Note, format, args...) }
func (e *env) warn(format string, args ...any) { e.event(Warning, format, args...) }

// mirrorsOn are the mirrors of a recipe on this machine, in the order in which they are tried. What
// the user should know of the machine's own is told.
func (e *env) mirrorsOn(m layers.Mirrors) []layers.Mirror {
	if !m.UsesHost() {
		return m.Fetch
	}
	c := e.host()
	host := sources.HostMirror(c)
	if !m.FetchAuto {
		for _, n := range c.Notes {
			e.warn("host: %s", n)
		}
		if !host.Carries() {
			e.note("mirrors.fetch: host has nothing here: pip, uv, conda and apt of this machine name no source " +
				"(raybuild mirrors)")
		}
	}
	return m.On(host)
}
