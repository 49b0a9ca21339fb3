package layers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/strictyaml"
	"github.com/raybuild/raybuild/llb"
)

// Sandbox runs steps and reads files of stages: an llb.Builder.
type Sandbox interface {
	Export(ctx context.Context, st llb.Stage, p llb.Platform, dir string, s llb.Session, o llb.SolveOptions) error
	ReadFiles(ctx context.Context, st llb.Stage, p llb.Platform, paths []string,
		s llb.Session) (map[string][]byte, error)
	ListDir(ctx context.Context, st llb.Stage, p llb.Platform, dir string, s llb.Session) ([]string, error)
}

// PinnedImage is an image of a registry for one platform.
type PinnedImage struct {
	// Digest of the platform's manifest.
	Digest digest.Digest
	// Config is the image's config, JSON.
	Config []byte
	// Layers are the digests of its layers as stored, oldest first.
	Layers []digest.Digest
}

// Sources is how a resolver reaches registries and package sources. A graph does not use it.
type Sources interface {
	// Pin finds the digest and the config of an image.
	Pin(ctx context.Context, ref string, p llb.Platform) (PinnedImage, error)
	// Know makes artifacts available to Open, by digest.
	Know(artifacts []Artifact, local []LocalFile)
	Gateway
	llb.ArtifactSource
}

// Gateway is how resolvers reach package sources.
type Gateway interface {
	// Client answers canonical URLs from the mirrors.
	Client() *http.Client
	// ServeConn does the same for the resolvers in the sandbox: it is an HTTP proxy on one connection.
	ServeConn(net.Conn)
	// Allow names the root of a source. ServeConn and Client answer for URLs below it, for what index pages link,
	// and for nothing else. The sandbox uses plain http for all hosts; that of an https root is asked by https.
	Allow(root *url.URL)
	// Canonical is a URL as the sandbox wrote it, with the scheme of its source.
	Canonical(u *url.URL) *url.URL
}

// ResolveInput is what Resolve needs.
type ResolveInput struct {
	// Recipe to resolve; checked and with its files loaded.
	Recipe *Recipe
	// Old is the lock so far, or nil. The versions that it pins stay if the recipe allows them.
	Old *Lock
	// Extra are layers of a Go program, after the recipe's. Each [LockedLayer] is resolved.
	Extra []Layer
	// Update names what to refresh: "base", "tool", a layer, a Python package, or "pip" for all Python
	// packages. Any other name is an error.
	Update []string
	// SameRelease refuses a base of another release than Old's, or a base with an older glibc than Old's tool stage.
	// The layers that a rebase keeps would not run on such a base.
	SameRelease bool
	// Now is the time that the lock records.
	Now time.Time
	// Sandbox gives the builder. It is called when the first step must run.
	Sandbox func(ctx context.Context) (Sandbox, error)
	// Sources reach registries and mirrors.
	Sources Sources
	// Python gives the resolver of Python packages. It is called when it is needed. Default: pip resolves,
	// in the sandbox.
	Python func(ctx context.Context) (PythonResolver, error)
	// Ahead gets the Python packages that the lock will probably have, while conda still resolves. It is called at most
	// once for each platform, from another goroutine. Default: nobody gets them.
	Ahead func(packages []Artifact)
	// Progress and ProgressTo are those of the resolvers' steps.
	Progress   llb.ProgressMode
	ProgressTo io.Writer
	// Resolved gets each layer that was resolved, with the times of this machine's clock. Default: nobody gets it.
	Resolved func(llb.Step)
	// Log gets a line for each constraint that is dropped, and other things that a user should know. Default: nothing
	// is logged.
	Log func(format string, args ...any)

	shown *resolving // the display, in a call
}

// Resolve makes the lock of a recipe. It resolves only the parts that in.Old does not have.
func Resolve(ctx context.Context, in ResolveInput) (lock *Lock, err error) {
	in, end := in.shared()
	defer func() { err = errors.Join(err, end()) }()
	if err := in.checkUpdate(); err != nil {
		return nil, err
	}
	lock = &Lock{Version: LockVersion, Recipe: in.Recipe.Digest(), Platforms: map[string]*LockPlatform{}}
	for _, name := range in.Recipe.Platforms {
		var old *LockPlatform
		if in.Old != nil {
			old = in.Old.Platforms[name]
		}
		locked, err := resolvePlatform(ctx, in, name, old)
		if err != nil {
			return nil, fmt.Errorf("resolve platform %q: %w", name, err)
		}
		lock.Platforms[name] = locked
	}
	return lock, nil
}

// checkUpdate refuses names of Update that would refresh nothing.
func (in *ResolveInput) checkUpdate() error {
	layers := []string{"base", "tool", "apt", "miniconda", "env", "ray", "pip"}
	for _, l := range lockedLayers(in.Extra) {
		layers = append(layers, l.Name())
	}
	known := slices.Clone(layers)
	for _, p := range platformsOf(in.Old) {
		for _, l := range p.pythonLayers() {
			for _, a := range runtimePackages(l.Artifacts) {
				known = append(known, a.Name)
			}
		}
	}
	var names []string
	for _, name := range in.Update {
		if !slices.Contains(known, name) {
			name = NormalName(name)
		}
		if !slices.Contains(known, name) {
			hint := strictyaml.DidYouMean(name, known)
			if !strings.HasPrefix(hint, "did you mean") {
				hint = strictyaml.DidYouMean(name, layers) // all packages would be too long a list
			}
			return fmt.Errorf("update %q: neither a layer nor a Python package of the lock; %s", name, hint)
		}
		names = append(names, name)
	}
	in.Update = names
	return nil
}

func resolvePlatform(ctx context.Context, in ResolveInput, name string, old *LockPlatform) (*LockPlatform, error) {
	platform, err := llb.ParsePlatform(name)
	if err != nil {
		return nil, err
	}
	if old == nil {
		old = &LockPlatform{}
	}
	r := &Resolver{in: in, name: name, platform: platform, old: old, told: map[string]string{},
		locked: &LockPlatform{Resolved: old.Resolved, Notes: old.Notes}}
	if err := r.baseImages(ctx); err != nil {
		return nil, err
	}
	inputs, err := layerInputs(in.Recipe, r.locked.Base.Digest)
	if err != nil {
		return nil, err
	}
	if err := r.recipe(ctx, inputs); err != nil {
		return nil, err
	}
	for _, layer := range lockedLayers(in.Extra) {
		if err := r.layer(ctx, layer, layer.Inputs()); err != nil {
			return nil, err
		}
	}
	r.keepOwn()
	return r.locked, nil
}

// lockedLayers are those of a program's own layers that are made of artifacts.
func lockedLayers(own []Layer) []LockedLayer {
	var out []LockedLayer
	for _, l := range own {
		if locked, ok := l.(LockedLayer); ok {
			out = append(out, locked)
		}
	}
	return out
}

// keepOwn keeps what the old lock says of layers of a program's own, where another program resolves.
func (r *Resolver) keepOwn() {
	if len(r.in.Extra) > 0 {
		return
	}
	for _, l := range r.old.Layers {
		if !slices.Contains([]string{"apt", "miniconda", "env", "ray"}, l.Name) && !isAdded(l.Name) {
			r.locked.Layers = append(r.locked.Layers, l)
		}
	}
}

// Resolver is what a layer resolves with.
type Resolver struct {
	in       ResolveInput
	name     string
	platform llb.Platform
	old      *LockPlatform     // all empty where there is none
	locked   *LockPlatform     // what is resolved so far
	stack    Stack             // and what that builds
	moved    bool              // Python packages were resolved anew
	told     map[string]string // metadata by sha256 of files whose projects have told it
	builds   *buildRoot        // what source distributions are built on; nil: nobody has asked yet
	ahead    <-chan struct{}   // closed when the question ahead of conda's answer has ended; nil: nobody asked it
}

// Stack is what the layers before this one have built.
func (r *Resolver) Stack() Stack { return r.stack }

// Client answers canonical URLs from the recipe's mirrors.
func (r *Resolver) Client() *http.Client { return r.in.Sources.Client() }

// updates tells whether one of the names is to be refreshed.
func (r *Resolver) updates(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(r.in.Update, n) })
}

// layer resolves one layer, or keeps what the old lock says of it.
func (r *Resolver) layer(ctx context.Context, layer Layer, inputs digest.Digest) error {
	name := layer.Name()
	locked := LockLayer{Name: name, Inputs: inputs}
	kept := slices.IndexFunc(r.old.Layers, func(l LockLayer) bool { return l.fits(name, inputs, r.in.Recipe.Apt) })
	python := name == "ray" || isAdded(name)
	if kept >= 0 && !r.updates(name) && (!python || !r.moved && !r.updatesPackage()) {
		locked = r.old.Layers[kept]
	} else {
		r.moved = r.moved || python
		step := llb.Step{Layer: name, Name: "resolve for " + r.name, Started: time.Now()}
		artifacts, err := layer.Resolve(ctx, r)
		step.Completed, step.Failed = time.Now(), err != nil
		step.Seconds = step.Completed.Sub(step.Started).Seconds()
		r.in.Resolved(step)
		if err != nil {
			return fmt.Errorf("resolve layer %q: %w", name, err)
		}
		r.withSchemes(artifacts)
		sortArtifacts(artifacts)
		if locked.Artifacts = artifacts; buildsWith(name, artifacts, r.in.Recipe.Apt) {
			locked.Inputs = builtWith(inputs, r.in.Recipe.Apt)
		}
		r.locked.Resolved = r.in.Now.UTC().Truncate(time.Second)
	}
	r.locked.Layers = append(r.locked.Layers, locked)
	r.know(locked.Artifacts)
	stack, err := layer.Apply(r.stack, locked.Artifacts)
	r.stack = stack
	return err
}

// withSchemes gives origins that are URLs the scheme of their source: the sandbox only knows http.
func (r *Resolver) withSchemes(artifacts []Artifact) {
	for i, a := range artifacts {
		if u, err := url.Parse(a.Origin); err == nil && u.Scheme == "http" {
			artifacts[i].Origin = r.in.Sources.Canonical(u).String()
		}
	}
}

// allow lets the sandbox ask for what is below a source, and gives the source's URL as the sandbox writes it.
func (r *Resolver) allow(source string) (string, error) {
	u, err := url.Parse(source)
	if err != nil {
		return "", err
	}
	r.in.Sources.Allow(u)
	plain := *u
	plain.Scheme = "http"
	return plain.String(), nil
}

// updatesPackage tells whether a name of Update is no layer, and so a Python package.
func (r *Resolver) updatesPackage() bool {
	layers := []string{"base", "tool", "user", "apt", "miniconda", "env"}
	for _, l := range lockedLayers(r.in.Extra) {
		layers = append(layers, l.Name())
	}
	return slices.ContainsFunc(r.in.Update, func(n string) bool { return !slices.Contains(layers, n) })
}

func (r *Resolver) know(artifacts []Artifact) {
	var local []LocalFile
	var far []Artifact
	for _, a := range artifacts {
		if a.Origin == originLocal {
			local = append(local, localWheel(r.in.Recipe.Dir, a))
		} else {
			far = append(far, a)
		}
	}
	r.in.Sources.Know(far, local)
}

func sortArtifacts(artifacts []Artifact) {
	slices.SortFunc(artifacts, func(a, b Artifact) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.Path, b.Path))
	})
}

func (r *Resolver) session() llb.Session {
	images, _ := r.in.Sources.(llb.ImageSource) // they may have base images at hand
	return llb.Session{Artifacts: r.in.Sources, Images: images,
		Sockets: map[string]func(net.Conn){"gateway": r.in.Sources.ServeConn}}
}

// outDir is where a resolver's step leaves its answer.
const outDir = work + "/out"

// Run runs a script of a resolver on root, which stays as it is, and returns the
// files that the script left in its first argument, by name. The step has no
// network but raybuild's own proxy, and is never cached.
func (r *Resolver) Run(ctx context.Context, root llb.Stage, title, script string, env map[string]string,
	mounts []llb.Mount, args ...string) (map[string][]byte, error) {
	vars := map[string]string{"BRIDGE": work + "/bridge/bridge.pl", "GATEWAY": tmp + "/raybuild-gateway.sock"}
	maps.Copy(vars, env)
	e := shell(title, preludeText+onlineText+script, vars, append([]string{outDir}, args...)...)
	bridge := llb.Scratch().Files("[resolve] bridge", llb.File{Path: "/bridge.pl", Data: []byte(bridgeText)})
	e.Mounts = append([]llb.Mount{{Path: work + "/bridge", Stage: bridge}}, mounts...)
	e.Sockets = []llb.Socket{{ID: "gateway", Path: vars["GATEWAY"], Mode: 0o600}}
	e.Fresh = true
	sandbox, err := r.in.Sandbox(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "raybuild-resolve-")
	if err != nil {
		return nil, fmt.Errorf("make directory for a resolver's answer: %w", err)
	}
	defer os.RemoveAll(dir)
	made := root.Make(e, llb.Output{Path: outDir, On: llb.Scratch()})
	display, err := r.in.shown.on(ctx)
	if err != nil {
		return nil, err
	}
	err = sandbox.Export(ctx, made, r.platform, dir, r.session(), llb.SolveOptions{Display: display,
		Limits: r.in.Recipe.Limits})
	if err != nil {
		return nil, err
	}
	return readDir(dir)
}

// maxAnswer limits what a resolver's step may leave, in bytes. Code of packages runs in it.
const maxAnswer = 256 << 20

func readDir(dir string) (map[string][]byte, error) {
	out, left := map[string][]byte{}, int64(maxAnswer)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if left -= info.Size(); left < 0 {
				return nil, fmt.Errorf("read a resolver's answer: it is larger than %d MB", maxAnswer>>20)
			}
			if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
