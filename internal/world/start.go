package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/world/channel"
	"github.com/raybuild/raybuild/internal/world/debian"
	"github.com/raybuild/raybuild/internal/world/mirror"
	"github.com/raybuild/raybuild/internal/world/pypi"
	"github.com/raybuild/raybuild/internal/world/ray"
)

// content is all that a world serves, made.
type content struct {
	cache         string
	from          debian.Mirror
	images        *debian.Made
	public, extra *pypi.Index
	channel       *channel.Made
	index         string // the real one
	real          *mirror.Cache
	fresh         time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Cache == "" {
		o.Cache = os.Getenv("RAYBUILD_WORLD_CACHE")
	}
	if o.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("find a cache directory: %w: set RAYBUILD_WORLD_CACHE", err)
		}
		o.Cache = filepath.Join(dir, "raybuild-world")
	}
	cache, err := filepath.Abs(o.Cache)
	if err != nil {
		return o, err
	}
	o.Cache = cache
	if o.Scale == "" {
		o.Scale = pypi.Small
	}
	if o.Index == "" {
		o.Index = Index()
	}
	for i, addr := range o.Addrs {
		if addr == "" {
			o.Addrs[i] = "127.0.0.1:0"
		}
	}
	return o, nil
}

func (o Options) logf(format string, args ...any) {
	if o.Log != nil {
		// A log that can't be written ends no world.
		_, _ = fmt.Fprintf(o.Log, "world: "+format+"\n", args...)
	}
}

// make makes what is not in the cache yet. One process at a time does; the others wait for it.
func (o Options) make(ctx context.Context) (*content, error) {
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the world's cache: %w", err)
	}
	lock := flock.New(filepath.Join(o.Cache, "lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock the world's cache %q: %w", o.Cache, err)
	}
	defer func() { _ = lock.Unlock() }() // the lock also goes with the process
	tests, err := TestCache()
	if err != nil {
		return nil, err
	}
	c := &content{cache: o.Cache, index: o.Index, fresh: o.Fresh,
		real: realCache(tests)}
	c.from = debian.MirrorOf(hostconf.Read(hostconf.This(os.Getenv)))
	if c.images, err = debian.Make(ctx, o.Cache, c.from, channel.DebianPackages(), o.logf); err != nil {
		return nil, err
	}
	var wheels []string
	if Answers(ctx, o.Index) == nil {
		wheel, err := realSetuptools(ctx, o.Index, o.Cache)
		if err != nil {
			return nil, fmt.Errorf("make conda channel: %w", err)
		}
		wheels = append(wheels, wheel)
	}
	if c.channel, err = channel.Make(ctx, o.Cache, channel.Options{
		Variants: o.Variants, Find: c.images.Deb, Wheels: wheels, Log: o.logf,
	}); err != nil {
		return nil, fmt.Errorf("make conda channel: %w", err)
	}
	c.public, c.extra, err = pypi.Make(ctx, o.Cache, pypi.Options{
		Scale: o.Scale, RayVersions: o.rayVersions(), Variants: o.Variants, Ray: ray.Files,
		Wheels: c.channel.Wheels, Log: o.logf,
		Code: func(ctx context.Context) ([]byte, error) { return channel.MachineCode(ctx, c.images.Deb) },
	})
	if err == nil && wheels != nil { // the real index answers
		err = placeUV(ctx, o.Index, o.Cache, c.public.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err := c.real.Prune(); err != nil {
		return nil, err
	}
	return c, prune(o.Cache, c.images.Dir, c.channel.Dir, filepath.Dir(c.public.Dir))
}

// rayVersions are those that the index carries: RayOld, RayNew, and patch releases of that.
func (o Options) rayVersions() []string {
	versions := []string{RayOld, RayNew}
	for i := range o.Variants {
		versions = append(versions, RayVariant(i+1))
	}
	return versions
}

// keepUnused is how long what was made by another version of the world stays in the cache after its
// last use: a world of another checkout may serve it.
const keepUnused = 72 * time.Hour

// prune marks the directories that are used now and removes those that were not for a long time.
func prune(cache string, used ...string) error {
	now := time.Now()
	for _, dir := range used {
		if err := os.Chtimes(dir, now, now); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, e := range entries {
		kind, _, made := strings.Cut(e.Name(), "-")
		if !e.IsDir() || !made || kind != "debian" && kind != "channel" && kind != "pypi" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if now.Sub(info.ModTime()) < keepUnused {
			continue
		}
		if err := os.RemoveAll(filepath.Join(cache, e.Name())); err != nil {
			return fmt.Errorf("remove what no world uses any more: %w", err)
		}
	}
	return nil
}

// parts are the parts of one mirror. Each mirror has its own, so that nothing but the content is shared.
func (c *content) parts() map[string]http.Handler {
	apt := &mirror.Cache{Dir: filepath.Join(c.cache, "apt")}
	return map[string]http.Handler{
		"debian":          &mirror.Proxy{Upstream: c.from.Archive, Cache: apt},
		"debian-security": &mirror.Proxy{Upstream: c.from.Security, Cache: apt},
		"pypi":            c.public,
		"extra":           c.extra,
		"anaconda":        c.channel,
		"miniforge":       c.channel.Miniforge(),
		"real":            &mirror.PyIndex{Upstream: c.index, Cache: c.real, Fresh: c.fresh},
	}
}

func start(ctx context.Context, o Options) (*World, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := o.make(ctx)
	if err != nil {
		return nil, err
	}
	w := &World{Dir: o.Dir, Installers: c.channel.Installers, images: c.images}
	r := &runner{}
	w.close = r.close
	if w.Dir == "" {
		if w.Dir, err = os.MkdirTemp("", "raybuild-world-"); err != nil {
			return nil, err
		}
		r.temp = w.Dir
	}
	ctx, r.cancel = context.WithCancel(ctx)
	if err := w.serve(ctx, r, c, o.Addrs); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if err := w.push(ctx, c.images); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if w.NotReal = Answers(ctx, o.Index); w.NotReal != nil {
		o.logf("no real Python packages: %v", w.NotReal)
	}
	return w, nil
}

// runner runs servers.
type runner struct {
	temp   string
	cancel context.CancelFunc
	wait   sync.WaitGroup
	once   sync.Once
	mu     sync.Mutex
	err    error
}

func (r *runner) run(f func() error) {
	r.wait.Go(func() {
		if err := f(); err != nil {
			r.mu.Lock()
			r.err = errors.Join(r.err, err)
			r.mu.Unlock()
		}
	})
}

func (r *runner) close() error {
	r.once.Do(func() {
		r.cancel()
		r.wait.Wait()
		if r.temp != "" {
			r.err = errors.Join(r.err, os.RemoveAll(r.temp))
		}
	})
	return r.err
}

func (w *World) serve(ctx context.Context, r *runner, c *content, addrs [3]string) error {
	var lns [3]net.Listener
	for i, addr := range addrs {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			for _, open := range lns[:i] {
				err = errors.Join(err, open.Close())
			}
			return fmt.Errorf("listen for the offline package world: %w", err)
		}
		lns[i] = ln
	}
	for i, m := range []*Mirror{&w.A, &w.B} {
		*m = newMirror("http://"+lns[i].Addr().String(), mirror.New(c.parts()))
		srv := &http.Server{Handler: m.server, ReadHeaderTimeout: 30 * time.Second}
		r.run(func() error {
			if err := srv.Serve(lns[i]); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		// Close, not Shutdown: a stalled answer would never end.
		context.AfterFunc(ctx, func() { _ = srv.Close() })
	}
	w.Registry = lns[2].Addr().String()
	r.run(func() error { return registry.Serve(ctx, lns[2], filepath.Join(w.Dir, "registry")) })
	return nil
}

func newMirror(url string, s *mirror.Server) Mirror {
	return Mirror{
		URL: url, Apt: url + "/debian", Conda: url + "/anaconda", Pip: url + "/pypi/simple",
		Installer: url + "/anaconda/miniconda", Extra: url + "/extra/simple", Miniforge: url + "/miniforge",
		Real: url + "/real/simple", server: s,
	}
}

// push brings the base images into the registry.
func (w *World) push(ctx context.Context, images *debian.Made) error {
	for tag, img := range map[string]v1.Image{debian.Suite: images.Base, debian.Suite + "-patched": images.Patched} {
		ref, err := name.ParseReference(w.Registry+"/"+baseRepository+":"+tag, name.Insecure)
		if err != nil {
			return err
		}
		if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithJobs(2)); err != nil {
			return fmt.Errorf("push base image %q: %w", ref, err)
		}
	}
	w.Base = w.Registry + "/" + baseRepository + ":" + debian.Suite
	w.BasePatched = w.Base + "-patched"
	return nil
}
