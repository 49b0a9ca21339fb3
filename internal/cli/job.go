package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// job is one call's recipe and lock, with the parts that work on them; those that cost time are made when first needed.
type job struct {
	app      *app
	o        recipeOptions
	b        builderOptions
	recipe   *layers.Recipe
	platform []string     // to build: those of --platform, else the recipe's
	lockFile string       // where the lock is
	found    *layers.Lock // what was there; nil: nothing
	lock     *layers.Lock // what fits the recipe
	data     []byte       // of lock
	registry *registry.Client
	asked    bool // the registries, whether they take a push
	sources  *sources.Sources
	page     *page // of --report; nil: the command has none
	builder  *builder.Builder
	record   *layers.Inputs     // of the graph that was asked for last
	docs     *madeDocuments     // that were asked for last
	seen     map[string]string  // what the registry has under names that it was asked for, by digest; "": nothing
	ofImage  *carried           // recipe and lock are those that this image carries
	smoke    *smoke             // how the image is tested; nil: that is not known yet
	tried    []*carried         // images that layers may have been taken from
	onto     *onto              // packages are put on ofImage; nil: it is built whole
	result   func(string) error // takes the built image's reference; nil: it is printed
}

// newJob is a job that has read nothing yet.
func (a *app) newJob(o recipeOptions, b builderOptions) *job {
	return &job{app: a, o: o, b: b, lockFile: a.path(o.lock), registry: registry.New(registry.Options{Insecure: b.insecure, Log: a.warn})}
}

// load reads recipe and lock, and says what the user should know of the recipe.
func (j *job) load() error {
	var (
		locked  sync.WaitGroup
		badLock error
	)
	locked.Go(func() { badLock = j.loadLock() })
	defer locked.Wait()
	file := j.app.path(j.o.file)
	data, err := os.ReadFile(file)
	if err != nil && (j.o.fileGiven || !errors.Is(err, os.ErrNotExist)) {
		return fmt.Errorf("read recipe %q: %w: name a recipe with -f, or write one with raybuild init", j.o.file, err)
	}
	if j.recipe, err = layers.LoadRecipe(data, file, j.o.sets); err != nil {
		return err
	}
	if err := j.recipe.LoadFiles(); err != nil {
		return err
	}
	notes, err := layers.Check(j.recipe)
	if err != nil {
		return err
	}
	for _, n := range notes {
		j.app.say("note: %s: %s", n.Key, n.Message)
	}
	if err := j.choosePlatforms(); err != nil {
		return err
	}
	locked.Wait()
	return badLock
}

// choosePlatforms takes --platform; a platform that the recipe lacks is resolved with the others.
func (j *job) choosePlatforms() error {
	for _, text := range j.o.platforms {
		p, err := llb.ParsePlatform(text)
		if err != nil {
			return &usageError{fmt.Errorf("--platform: %w", err)}
		}
		name := llb.FormatPlatform(p)
		j.platform = append(j.platform, name)
		if !slices.Contains(j.recipe.Platforms, name) {
			j.recipe.Platforms = append(j.recipe.Platforms, name)
		}
	}
	sort.Strings(j.recipe.Platforms)
	if j.platform == nil {
		j.platform = j.recipe.Platforms
	}
	return nil
}

// loadLock reads the lock, if there is one.
func (j *job) loadLock() error {
	lock, data, err := readLock(j.lockFile)
	if err != nil {
		return err
	}
	j.found, j.lock, j.data = lock, lock, data
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

// fit brings the lock up to the recipe: not at all where it fits, an error where it must not change, else by resolving what
// changed. A lock that --set made for this call alone is kept in raybuild's directory, so that the same call finds it again.
func (j *job) fit(ctx context.Context, frozen bool, update []string) error {
	stale, err := layers.Stale(j.recipe, j.lock)
	if err != nil {
		return err
	}
	if len(stale) == 0 && len(update) == 0 {
		return nil
	}
	if frozen {
		return j.misfit(stale)
	}
	target := j.lockFile
	if len(j.o.sets) > 0 && !j.o.lockGiven {
		if target, err = j.asideFile(); err != nil {
			return err
		}
		if len(update) == 0 && j.useAside(target) {
			return nil
		}
	}
	if err := j.resolve(ctx, update); err != nil {
		return sources.Explain(err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return writeFile(target, j.data, 0o644)
}

// useAside takes the lock that an earlier call with these overrides has left in file, where it fits.
func (j *job) useAside(file string) bool {
	lock, data, err := readLock(file)
	if err != nil || lock == nil {
		return false
	}
	if stale, err := layers.Stale(j.recipe, lock); err != nil || len(stale) > 0 {
		return false
	}
	j.lock, j.data = lock, data
	return true
}

// misfit is the error of a lock that must not change and does not fit.
func (j *job) misfit(stale []layers.StaleLayer) error {
	if j.found == nil {
		return fmt.Errorf("there is no lock %q: write it with raybuild lock, and put it under version control", j.o.lock)
	}
	text := ""
	for _, s := range stale {
		text += fmt.Sprintf("\n  %s, %s: %s", s.Layer, s.Platform, s.Why)
	}
	return fmt.Errorf("lock %q does not fit the recipe:%s\nbring it up with raybuild lock, and put it under version control", j.o.lock, text)
}

// asideFile names the lock of this recipe with these overrides on top of the lock that is there.
func (j *job) asideFile() (string, error) {
	home, err := j.app.makeHome()
	if err != nil {
		return "", err
	}
	key := digest.FromString(j.recipe.Digest().String() + digest.FromBytes(j.data).String())
	return filepath.Join(home, "locks", key.Encoded()+".lock"), nil
}

// resolve asks what the lock does not answer, and shows what changed.
func (j *job) resolve(ctx context.Context, update []string) error {
	if _, err := j.reach(ctx); err != nil {
		return err
	}
	lock, err := layers.Resolve(ctx, j.resolveInput(update))
	if err != nil && ctx.Err() == nil {
		err = j.sources.Unanswered(err)
	}
	if err != nil && j.builder != nil && ctx.Err() == nil {
		return j.builder.Explain(err)
	}
	if err != nil {
		return err
	}
	j.tell(layers.Diff(j.lock, lock))
	return j.useLock(lock)
}

// useLock goes on with a lock that was resolved.
func (j *job) useLock(lock *layers.Lock) error {
	data, err := lock.Marshal()
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	j.lock, j.data = lock, data
	return nil
}

// resolveInput is what resolving takes, once the sources are there.
func (j *job) resolveInput(update []string) layers.ResolveInput {
	return layers.ResolveInput{
		Recipe: j.recipe,
		Old:    j.lock,
		Update: update,

		SameRelease: j.ofImage != nil,
		Now:         time.Now(),
		Sources:     j.sources,
		Progress:    llb.ProgressMode(j.b.progress),
		ProgressTo:  j.app.stderr,
		Log:         j.app.say,
		Sandbox: func(ctx context.Context) (layers.Sandbox, error) {
			b, err := j.connect(ctx)
			if err != nil {
				return nil, err
			}
			return b.Builder, nil
		},
	}
}

// tell shows the difference of two locks, shortened where it is everything.
func (j *job) tell(changes []layers.Change) {
	const most = 40
	for i, c := range changes {
		if i == most {
			j.app.say("  … and %d more", len(changes)-most)
			return
		}
		j.app.say("  %s", changeText(c))
	}
}

func changeText(c layers.Change) string {
	switch {
	case c.From == "":
		return fmt.Sprintf("+ %s %s %s (%s, %s)", c.Kind, c.Name, c.To, c.Layer, c.Platform)
	case c.To == "":
		return fmt.Sprintf("- %s %s %s (%s, %s)", c.Kind, c.Name, c.From, c.Layer, c.Platform)
	}
	return fmt.Sprintf("~ %s %s %s → %s (%s, %s)", c.Kind, c.Name, c.From, c.To, c.Layer, c.Platform)
}

// graph is the pure part: recipe, lock and output options become steps.
func (j *job) graph(ctx context.Context, o *buildOptions) (*layers.Graph, error) {
	created, err := j.created()
	if err != nil {
		return nil, err
	}
	options := layers.GraphOptions{
		Platforms:   j.platform,
		Created:     created,
		Compression: o.compression,
		Labels:      o.parsed.labels,
		Annotations: o.parsed.annotations,
	}
	if j.onto != nil {
		return j.graphOnto(ctx, options)
	}
	return layers.NewGraph(ctx, j.recipe, j.lock, options)
}

// created is the image's time where SOURCE_DATE_EPOCH gives it, else zero.
func (j *job) created() (time.Time, error) {
	text := j.app.getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH %q: it is the image's time in seconds since 1970: mend it or unset it", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// connect gives the builder.
func (j *job) connect(ctx context.Context) (*builder.Builder, error) {
	if j.builder == nil {
		b, err := builder.Connect(ctx, j.app.builderChoice(j.b))
		if err != nil {
			return nil, err
		}
		for _, why := range b.Unusable {
			j.app.say("building with %s: %s", b.Engine, why)
		}
		j.builder = b
	}
	return j.builder, nil
}

// reach gives the way to registries and mirrors.
func (j *job) reach(ctx context.Context) (*sources.Sources, error) {
	if j.sources != nil {
		return j.sources, nil
	}
	home, err := j.app.makeHome()
	if err != nil {
		return nil, err
	}
	mirrors := j.app.mirrorsOn(j.recipe.Mirrors)
	if j.recipe.Mirrors.FetchAuto {
		j.app.say("measuring mirrors")
		if mirrors = sources.Fastest(ctx, mirrors, j.app.host()); len(mirrors) > 0 {
			j.app.say("fetching from %s first", mirrors[0].Name)
		}
	}
	resolved := time.Now()
	for _, p := range j.locked() {
		resolved = p.Resolved
	}
	j.sources, err = sources.New(sources.Options{
		Store: filepath.Join(home, "artifacts"), Registry: j.registry, Recipe: j.recipe, Mirrors: mirrors, Resolved: resolved,
		Host: j.app.host(),
		Warn: func(text string) { j.app.warn("%s", text) },
	})
	return j.sources, err
}

// locked are the lock's platforms, none where there is no lock.
func (j *job) locked() map[string]*layers.LockPlatform {
	if j.lock == nil {
		return nil
	}
	return j.lock.Platforms
}

// session is what the builder may ask of this process.
func (j *job) session(secrets map[string]secret) llb.Session {
	return llb.Session{
		Artifacts:    j.sources,
		DockerConfig: j.app.getenv("DOCKER_CONFIG"),
		Secrets: func(_ context.Context, id string) ([]byte, error) {
			s, ok := secrets[id]
			if !ok {
				return nil, llb.ErrNoSecret
			}
			return s.read(j.app)
		},
	}
}

// close ends connections; what was built stays.
func (j *job) close() {
	if j.builder != nil {
		_ = j.builder.Close() // nothing is lost with a connection that does not end well
	}
}
