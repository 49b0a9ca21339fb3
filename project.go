package raybuild

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Project is a recipe with its lock. It is not safe for use by several goroutines at once. It connects
// to a builder and to other slow things only when it needs them; [Project.Close] closes them.
type Project struct {
	env      *env
	registry *registry.Client
	recipe   *layers.Recipe
	platform []string     // platforms to build: the options', else the recipe's
	lockFile string       // the lock's file
	found    *layers.Lock // the lock that the file or image had; nil: none
	lock     *layers.Lock // the lock in use
	data     []byte       // lock as text
	mayPush  bool         // the registries were asked and did not refuse a push
	sources  *sources.Sources
	asking   sync.Mutex // of resolver
	resolver *uv.Resolver
	reaching sync.Mutex // of builder
	builder  *builder.Builder
	record   *layers.BuildRecord // record of the last graph
	docs     *madeDocuments      // the last documents
	claims   *claims             // of the image that is pushed; nil: not yet begun
	seen     map[string]string   // names that were looked up, with their image by digest; "": no image
	ofImage  *pushedImage        // the image that recipe and lock come from; nil: they are files
	smoke    *smoke              // how the image is tested; nil: not yet known
	tried    []*pushedImage      // images that were tried for reuse of layers
	resolved []llb.Step          // layers that this project has resolved
	layers   *madeLayers         // made of wheels, for the image that is built; nil: there are none
	onto     *onto               // packages are added to ofImage; nil: the image is built from its recipe
	trust    trust               // which images of registries are believed
	bundled  string              // the image that a bundle gets; "": none
	early    *earlyFetch         // fetches what the lock will probably have; nil: nothing is fetched early
	key      *signing.Key        // signs what is pushed; nil: nothing is signed
}

// Open reads recipe, lock and bundles, and sends notes on the recipe to o.Log. It contacts no builder, and no registry
// but those of o.Bundles. ctx bounds only this.
func Open(ctx context.Context, o Options) (*Project, error) {
	p, err := newProject(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	return p, nil
}

// newProject opens the bundles of o alone.
func newProject(ctx context.Context, o Options) (*Project, error) {
	p := &Project{env: newEnv(o)}
	var err error
	if p.env.bundles, err = o.openBundles(ctx); err != nil {
		return nil, err
	}
	p.lockFile = p.env.path(p.env.lock())
	p.registry = p.env.client()
	return p, nil
}

// HasLock tells whether there was a lock when the project was opened.
func (p *Project) HasLock() bool { return p.found != nil }

// LockFile returns the lock's file, as the options name it.
func (p *Project) LockFile() string { return p.env.lock() }

// load reads recipe and lock, and logs notes on the recipe.
func (p *Project) load() error {
	var (
		locked  sync.WaitGroup
		badLock error
	)
	locked.Go(func() { badLock = p.loadLock() })
	defer locked.Wait()
	file := p.env.path(p.env.recipe())
	data, err := os.ReadFile(file)
	if err != nil && (p.env.Recipe != "" || !errors.Is(err, os.ErrNotExist)) {
		return fmt.Errorf("read recipe %q: %w: name a recipe with -f, or write one with raybuild init",
			p.env.recipe(), err)
	}
	if p.recipe, err = layers.LoadRecipe(data, file, p.env.Set); err != nil {
		return err
	}
	p.env.pullFrom(p.recipe.Mirrors)
	if err := p.recipe.LoadFiles(); err != nil {
		return err
	}
	if err := p.trustIn(p.recipe.Trust, p.recipe.Dir); err != nil {
		return err
	}
	notes, err := layers.Check(p.recipe)
	if err != nil {
		return err
	}
	for _, n := range notes {
		p.env.note("%s: %s", n.Key, n.Message)
	}
	if err := p.choosePlatforms(); err != nil {
		return err
	}
	locked.Wait()
	return badLock
}

// choosePlatforms uses the options' platforms. It adds a platform to the recipe if the recipe lacks
// it, so that the platform is resolved too.
func (p *Project) choosePlatforms() error {
	for _, text := range p.env.Platforms {
		platform, err := llb.ParsePlatform(text)
		if err != nil {
			return &OptionError{Field: "Platforms", Err: err}
		}
		name := llb.FormatPlatform(platform)
		p.platform = append(p.platform, name)
		if !slices.Contains(p.recipe.Platforms, name) {
			p.recipe.Platforms = append(p.recipe.Platforms, name)
		}
	}
	sort.Strings(p.recipe.Platforms)
	if p.platform == nil {
		p.platform = p.recipe.Platforms
	}
	return nil
}

// loadLock reads the lock, if there is one.
func (p *Project) loadLock() error {
	lock, data, err := readLock(p.lockFile)
	if err != nil {
		return err
	}
	p.found, p.lock, p.data = lock, lock, data
	return nil
}

func readLock(file string) (*layers.Lock, []byte, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read lock %q: %w", file, err)
	}
	lock, err := layers.ParseLock(data, file)
	return lock, data, err
}

// ensureLock makes the lock fit the recipe. If the lock fits and update is empty, it does nothing.
// If frozen is set, it returns an error. Otherwise it resolves what changed. The lock of a recipe
// with overrides is kept in raybuild's directory, so that the same call finds it again.
func (p *Project) ensureLock(ctx context.Context, frozen bool, update []string) error {
	stale, err := layers.Stale(p.recipe, p.lock, p.env.Layers...)
	if err != nil {
		return err
	}
	if len(stale) == 0 && len(update) == 0 {
		return nil
	}
	if frozen {
		return p.staleLockError(stale)
	}
	target := p.lockFile
	if len(p.env.Set) > 0 && p.env.Lock == "" {
		if target, err = p.overrideLockPath(); err != nil {
			return err
		}
		if len(update) == 0 && p.useOverrideLock(target) {
			return nil
		}
	}
	if err := p.resolve(ctx, update); err != nil {
		return sources.Explain(err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return wholefile.WriteLasting(target, p.data, 0o644)
}

// useOverrideLock uses the lock in file, which an earlier call with the same overrides
// wrote, if it fits the recipe.
func (p *Project) useOverrideLock(file string) bool {
	lock, data, err := readLock(file)
	if err != nil || lock == nil {
		return false
	}
	if stale, err := layers.Stale(p.recipe, lock, p.env.Layers...); err != nil || len(stale) > 0 {
		return false
	}
	p.lock, p.data = lock, data
	return true
}

// staleLockError returns the error for a lock that does not fit and must not change.
func (p *Project) staleLockError(stale []layers.StaleLayer) error {
	if p.found == nil {
		stale = nil
	}
	return &StaleLockError{Lock: p.env.lock(), Layers: staleLayers(stale)}
}

// overrideLockPath returns the lock's file for this recipe, these overrides and the present lock.
func (p *Project) overrideLockPath() (string, error) {
	home, err := p.env.MakeHome()
	if err != nil {
		return "", err
	}
	key := digest.FromString(p.recipe.Digest().String() + digest.FromBytes(p.data).String())
	return filepath.Join(home, locksDir, key.Encoded()+".lock"), nil
}

// resolve resolves what the lock does not answer, and logs what changed.
func (p *Project) resolve(ctx context.Context, update []string) error {
	if _, err := p.reach(ctx); err != nil {
		return err
	}
	var ahead sync.WaitGroup
	defer ahead.Wait()
	if p.found == nil {
		// apt and conda will resolve in the builder. It starts while the base is looked up; they tell an error.
		within, cancel := context.WithCancel(ctx)
		defer cancel()
		ahead.Go(func() { _, _ = p.connect(within) })
	}
	lock, err := layers.Resolve(ctx, p.resolveInput(update))
	if err != nil && ctx.Err() == nil {
		err = p.sources.Unanswered(err)
	}
	if err != nil && p.builder != nil && ctx.Err() == nil {
		return p.builder.Explain(err)
	}
	if err != nil {
		return err
	}
	p.tell(layers.Diff(p.lock, lock))
	return p.useLock(lock)
}

// useLock replaces the project's lock by a resolved one.
func (p *Project) useLock(lock *layers.Lock) error {
	data, err := lock.Marshal()
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	p.lock, p.data = lock, data
	return nil
}

// resolveInput returns the input of the resolver. reach must have been called.
func (p *Project) resolveInput(update []string) layers.ResolveInput {
	return layers.ResolveInput{
		Recipe: p.recipe,
		Old:    p.lock,
		Extra:  p.env.Layers,
		Update: update,

		SameRelease: p.ofImage != nil,
		Now:         time.Now(),
		Sources:     p.sources,
		Progress:    p.env.Progress,
		ProgressTo:  p.env.ProgressTo,
		Log:         p.env.info,
		Resolved:    func(s llb.Step) { p.resolved = append(p.resolved, s) },
		Ahead:       p.early.fetch,
		Python:      func(ctx context.Context) (layers.PythonResolver, error) { return p.uv(ctx) },
		Sandbox: func(ctx context.Context) (layers.Sandbox, error) {
			b, err := p.connect(ctx)
			if err != nil {
				return nil, err
			}
			return b.Builder, nil
		},
	}
}

// graph makes the graph of recipe, lock and the options that the image depends on. It is a pure function of them.
func (p *Project) graph(ctx context.Context, o *BuildOptions) (*layers.Graph, error) {
	options := layers.GraphOptions{
		Platforms:   p.platform,
		Created:     p.env.Created,
		Compression: o.Compression,
		Labels:      o.Labels,
		Annotations: o.Annotations,
		Extra:       p.env.Layers,
	}
	if p.onto != nil {
		return p.graphOnto(ctx, options)
	}
	return layers.NewGraph(ctx, p.recipe, p.lock, options)
}

// connect returns the builder, and connects to it first if needed.
func (p *Project) connect(ctx context.Context) (*builder.Builder, error) {
	p.reaching.Lock()
	defer p.reaching.Unlock()
	if p.builder == nil {
		b, err := builder.Connect(ctx, p.env.builder())
		if err != nil {
			return nil, err
		}
		for _, why := range b.Unusable {
			p.env.info("building with %s: %s", b.Engine, why)
		}
		p.sayUnlimited(ctx, b)
		if inTheClear(b.Engine) {
			p.env.warn("the builder %s is asked without TLS: secrets and logins cross the network in the clear; give "+
				"it certificates (…?cacert=FILE&cert=FILE&key=FILE)", b.Engine)
		}
		p.builder = b
	}
	return p.builder, nil
}

// inTheClear tells whether what a builder gets can be read on a network.
func inTheClear(addr string) bool {
	u, err := url.Parse(addr)
	return err == nil && u.Scheme == "tcp" && u.RawQuery == "" && !registry.Loopback(u.Hostname())
}

// reach returns the sources (registries and mirrors), and makes them first if needed.
func (p *Project) reach(ctx context.Context) (*sources.Sources, error) {
	if p.sources != nil {
		return p.sources, nil
	}
	home, err := p.env.MakeHome()
	if err != nil {
		return nil, err
	}
	mirrors := p.env.mirrorsOn(p.recipe.Mirrors)
	if p.recipe.Mirrors.FetchAuto {
		p.env.info("measuring mirrors")
		if mirrors = sources.Fastest(ctx, mirrors, p.env.host()); len(mirrors) > 0 {
			p.env.info("fetching from %s first", mirrors[0].Name)
		}
	}
	resolved := time.Now()
	for _, locked := range p.locked() {
		resolved = locked.Resolved
	}
	p.sources, err = sources.New(sources.Options{
		Store: filepath.Join(home, artifactsDir), Registry: p.registry, Recipe: p.recipe, Mirrors: mirrors,
		Bundles: p.env.bundles, Resolved: resolved, Host: p.env.host(),
		Warn: func(text string) { p.env.warn("%s", text) },
	})
	if err != nil {
		return nil, err
	}
	for _, locked := range p.locked() {
		for _, base := range []layers.LockImage{locked.Base, locked.Tool} {
			p.sources.KnowBase(base.Reference, base.Digest)
		}
	}
	return p.sources, nil
}

// locked returns the lock's platforms, or none if there is no lock.
func (p *Project) locked() map[string]*layers.LockPlatform {
	if p.lock == nil {
		return nil
	}
	return p.lock.Platforms
}

// Close closes connections. It removes nothing that was built.
func (p *Project) Close() {
	p.reaching.Lock()
	defer p.reaching.Unlock()
	if p.builder != nil {
		_ = p.builder.Close() // a close that fails loses nothing
	}
}
