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
	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/convert"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Options say where the project is, which builder builds it, and where messages go. The zero value
// is the recipe raybuild.yaml in the working directory, or the default recipe if there is no such
// file, built by the first available builder.
type Options struct {
	// Dir is the directory for relative paths. Default: the process's working directory.
	Dir string
	// Recipe is the recipe's file. Default: raybuild.yaml, which may be missing.
	Recipe string
	// Lock is the lock's file. Default: the recipe's path with the ending .lock.
	Lock string
	// Set overrides keys of the recipe, as KEY=VALUE: a dotted key, and a value as YAML. The lock
	// of a recipe with overrides is kept in Home, unless Lock is set.
	Set []string
	// Platforms to build, as os/arch. Default: the recipe's.
	Platforms []string

	// Layers are the calling program's own layers. They follow the recipe's layers, in this order.
	// A layer that is made of artifacts must be a [layers.LockedLayer].
	Layers []layers.Layer

	// Builder is the address of a BuildKit, "docker" for the Docker Engine's BuildKit, "buildx" for
	// buildx's current builder, or the name of a buildx builder. Default: $BUILDKIT_HOST, else
	// $BUILDX_BUILDER, else the embedded engine, else the Docker Engine.
	Builder string
	// InsecureRegistries are the HOST or HOST:PORT of registries for which plain HTTP or an unknown
	// certificate is allowed. Loopback is always allowed.
	InsecureRegistries []string
	// Trust says which images of registries are believed. Default: those that an identity of the recipe's
	// trust.signed_by has signed, and if it names nobody, all whose text fits.
	Trust TrustMode
	// Bundles are directories that [Project.Bundle] made, or bundles in registries, as oci://HOST/NAME:TAG. Artifacts
	// and base images come from them first, and from mirrors and registries only if no bundle has them. Default: none.
	Bundles []string
	// Home is raybuild's own directory: fetched artifacts, the embedded engine's state. Default: $RAYBUILD_HOME, else
	// raybuild in the user's cache directory.
	Home string
	// Getenv returns environment variables: BUILDKIT_HOST, DOCKER_CONFIG, and the variables of pip,
	// uv and conda that mirrors.fetch: host reads. Default: os.Getenv.
	Getenv func(string) string
	// Created is the image's creation time. Default: the lock's time.
	Created time.Time

	// Log gets what happens, as one line per event. Several goroutines may call it at once.
	// Default: events are dropped.
	Log func(Event)
	// Progress says how steps are shown on ProgressTo. Default: [llb.ProgressAuto].
	Progress llb.ProgressMode
	// ProgressTo gets the progress. Default: progress is not shown.
	ProgressTo io.Writer
}

// EventKind says how important an event is.
type EventKind string

// Kinds of events.
const (
	Info    EventKind = ""        // what raybuild is doing
	Note    EventKind = "note"    // something useful to know
	Warning EventKind = "warning" // something is wrong, but the work continues
)

// Event is one line about what happens.
type Event struct {
	Kind EventKind
	Text string
}

// String returns the line with its kind: "warning: …".
func (e Event) String() string {
	if e.Kind == Info {
		return e.Text
	}
	return string(e.Kind) + ": " + e.Text
}

// homeDir returns raybuild's own directory as an absolute path. The directory may be missing.
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

// MakeHome returns the directory Options.Home. It creates the directory if it is missing, with
// access for its owner only. A directory that everybody may write to, or that another user owns, is an error.
func (o Options) MakeHome() (string, error) {
	dir, err := o.homeDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make raybuild's directory: %w: set RAYBUILD_HOME to one that can be written", err)
	}
	return dir, checkHome(dir)
}

func (o Options) getenv(name string) string {
	if o.Getenv == nil {
		return os.Getenv(name)
	}
	return o.Getenv(name)
}

// path makes a path absolute. Relative paths are relative to Dir.
func (o Options) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(o.Dir, p)
}

// recipe returns the recipe's file as messages name it.
func (o Options) recipe() string {
	if o.Recipe == "" {
		return "raybuild.yaml"
	}
	return o.Recipe
}

// lock returns the lock's file as messages name it.
func (o Options) lock() string {
	if o.Lock != "" {
		return o.Lock
	}
	return strings.TrimSuffix(o.recipe(), filepath.Ext(o.recipe())) + ".lock"
}

// builder returns the options of package builder.
func (o Options) builder() builder.Options {
	return builder.Options{
		Name: o.Builder, Insecure: o.InsecureRegistries, CertDirs: registry.CertDirs(o.getenv), Home: o.MakeHome,
		Trees: filepath.Join(layersDir, convert.TreesDir), Getenv: o.getenv, Notes: o.ProgressTo,
	}
}

// env is shared by all parts of a project: the options and this machine's configuration.
type env struct {
	Options
	host    func() hostconf.Config // read once
	bundles bundle.Set             // of the options; empty where nothing is fetched
	hubs    []string               // URLs of mirrors of Docker Hub, of the recipe
}

// newEnv opens no bundles.
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

// mirrorsOn returns the mirrors of a recipe on this machine, in the order in which they are tried.
// It warns about problems in the machine's own configuration.
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
