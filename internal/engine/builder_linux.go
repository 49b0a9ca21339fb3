package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	ctdsnapshot "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	cerrdefs "github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/azblob"
	"github.com/moby/buildkit/cache/remotecache/gha"
	"github.com/moby/buildkit/cache/remotecache/inline"
	"github.com/moby/buildkit/cache/remotecache/local"
	"github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/cache/remotecache/s3"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/db"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/util/resolver"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	"github.com/sirupsen/logrus"
	fscopy "github.com/tonistiigi/fsutil/copy"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// buildkitVersion is the version of BuildKit that is linked in. A test keeps it
// equal to go.mod's: build information is not there in every kind of binary.
const buildkitVersion = "v0.34.2"

// engineVersion is what two raybuilds must agree on to share an engine.
func engineVersion() string { return stateFormat + "+buildkit-" + buildkitVersion }

// builder is BuildKit's controller behind a gRPC server.
type builder struct {
	server     *grpc.Server
	controller *control.Controller
	sync       *syncer
	cancel     context.CancelFunc
}

// newBuilder wires BuildKit as its own daemon does (cmd/buildkitd in the
// module), with one runc worker and without tracing and metrics.
func newBuilder(ctx context.Context, o ServeOptions, p place, idle time.Duration) (*builder, error) {
	setGlobals()
	ctx, cancel := context.WithCancel(ctx)
	b := &builder{sync: newSyncer(p), cancel: cancel}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start sessions: %w", err), b.close())
	}
	hosts := registryHosts(o.Insecure, o.CertDirs)
	w, err := newWorker(ctx, o, p, b.sync, hosts, idle)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	if b.controller, err = newController(ctx, p, sessions, w, hosts); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.server = grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor, sweepAfterFailure(w.GarbageCollect)),
		grpc.ChainStreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	healthv1.RegisterHealthServer(b.server, health.NewServer())
	b.controller.Register(b.server)
	return b, nil
}

// sweepAfterFailure removes what a failed build has left as soon as it has
// failed. BuildKit does so a minute later at the earliest, and until then the
// files of a step that has filled the disk would fail every other build.
func sweepAfterFailure(sweep func(context.Context) error) grpc.UnaryServerInterceptor {
	bounded := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := sweep(ctx); err != nil {
			logrus.WithError(err).Warn("cannot remove what a failed build has left")
		}
	}
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		resp, err := handler(ctx, req)
		if _, ok := req.(*controlapi.SolveRequest); ok && err != nil {
			bounded(ctx)
			// The solver lets go of the last things after its answer.
			time.AfterFunc(time.Second, func() { bounded(ctx) })
		}
		return resp, err
	}
}

// setGlobals sets what BuildKit keeps per process.
func setGlobals() {
	apicaps.ExportedProduct = "buildkit"
	version.Version = buildkitVersion
	// Files get the modes that the build gives them, whatever the user's umask is.
	unix.Umask(0)
	fscopy.UmaskIsZero = true
}

func (b *builder) close() error {
	b.cancel()
	if b.controller == nil {
		return nil
	}
	return b.controller.Close()
}

// newWorker makes the worker: runc or crun, overlayfs, a network for each step.
func newWorker(ctx context.Context, o ServeOptions, p place, sync *syncer, hosts docker.RegistryHosts,
	idle time.Duration) (worker.Worker, error) {
	binary, err := findRuntime(os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	limit := cacheLimit(o.CacheLimit, p.dir)
	labels := map[string]string{
		labelVersion:  engineVersion(),
		labelInstance: p.dir,
		labelIdle:     idle.String(),
		labelLimit:    strconv.FormatInt(limit, 10),
	}
	snapshots := snapshotter(ctx, p.state(), sync)
	var over overRoot
	if snapshots.Name == overlayfs {
		if over, err = newOverRoot(p.state()); err != nil {
			logrus.WithError(err).Warn("layers are merged for each test of an image")
		} else {
			labels[labelOverRoot] = overRootDir
			if o.Trees != "" && o.stage != stageRootless {
				over.trees, labels[labelTrees] = o.Trees, o.Trees
			}
		}
	}
	opt, err := runc.NewWorkerOpt(p.state(), snapshots, o.stage == stageRootless,
		oci.ProcessSandbox, labels,
		nil, netproviders.Opt{Mode: "host"}, nil, binary, "", false, nil, "", "", nil)
	if err != nil {
		return nil, fmt.Errorf("open build state %q: %w", p.state(), err)
	}
	// The executor has this very map.
	if opt.NetworkProviders[pb.NetMode_UNSET], err = newStepNetworks(p.dir); err != nil {
		return nil, err
	}
	content, ok := opt.ContentMetadata.(db.Transactor)
	if !ok {
		return nil, fmt.Errorf("open build state %q: BuildKit's database of contents is a %T", p.state(),
			opt.ContentMetadata)
	}
	sync.add(content)
	sync.add(opt.MetadataStore.DB())
	if labels[labelOverRoot] != "" {
		over.Executor = opt.Executor
		opt.Executor = over
	}
	var has cgroups
	if o.stage != stageRootless { // there BuildKit makes no control group for a step
		has = findCgroups()
	}
	opt.Labels[labelLimits] = has.String()
	limitNetworks(opt.NetworkProviders)
	opt.Executor = limiting{opt.Executor, has}
	opt.GCPolicy = gcPolicy(limit, p.dir)
	opt.RegistryHosts = hosts
	opt.BuildkitVersion = client.BuildkitVersion{Package: version.Package, Version: version.Version}
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	return limitingWorker{w}, nil
}

const overlayfs = "overlayfs"

// snapshotter is overlayfs where it can be mounted, else plain copies. An engine that was killed
// may have left a directory that its database does not know, under the number of the next snapshot,
// which then cannot be made: such ones are removed.
func snapshotter(ctx context.Context, root string, sync *syncer) runc.SnapshotterFactory {
	if overlayutils.Supported(root) != nil {
		return runc.SnapshotterFactory{Name: "native", New: native.NewSnapshotter}
	}
	return runc.SnapshotterFactory{Name: overlayfs, New: func(root string) (ctdsnapshot.Snapshotter, error) {
		ms, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"))
		if err != nil {
			return nil, err
		}
		s, err := overlay.NewSnapshotter(root, overlay.AsynchronousRemove, overlay.WithMetaStore(ms))
		if err != nil {
			return nil, err
		}
		sync.addSnapshots(ctx, ms)
		if cleaner, ok := s.(ctdsnapshot.Cleaner); ok {
			// that: there never was a snapshot
			if err := cleaner.Cleanup(ctx); err != nil && !cerrdefs.IsNotFound(err) {
				return nil, errors.Join(fmt.Errorf("remove what a killed engine left in %q: %w", root, err), s.Close())
			}
		}
		return s, nil
	}}
}

// gcPolicy keeps the state below limit, and 5 % of the disk (10 GB at most)
// free, by removing what was not used for the longest time. The last tenth of
// the limit is not touched: it would empty the cache on a full disk.
func gcPolicy(limit int64, path string) []client.PruneInfo {
	rule := client.PruneInfo{MaxUsedSpace: limit, ReservedSpace: limit / 10}
	if d, err := diskOf(path); err == nil {
		rule.MinFreeSpace = min(d.total/20, 10e9)
	}
	all := rule
	all.All = true
	return []client.PruneInfo{rule, all}
}

// registryHosts says how registries are spoken to: loopback over plain HTTP
// (BuildKit's default), insecure ones without checks, all others over TLS, with
// the certificates that one of the directories has for them.
func registryHosts(insecure, certDirs []string) docker.RegistryHosts {
	yes := true
	m := make(map[string]resolverconfig.RegistryConfig, len(insecure))
	for _, h := range insecure {
		m[h] = resolverconfig.RegistryConfig{PlainHTTP: &yes, Insecure: &yes}
	}
	known := resolver.NewRegistryConfig(m)
	return func(host string) ([]docker.RegistryHost, error) {
		var c resolverconfig.RegistryConfig
		for _, dir := range certDirs {
			if own := filepath.Join(dir, host); isDir(own) {
				c.TLSConfigDir = append(c.TLSConfigDir, own)
			}
		}
		if _, ok := m[host]; ok || len(c.TLSConfigDir) == 0 {
			return known(host)
		}
		return resolver.NewRegistryConfig(map[string]resolverconfig.RegistryConfig{host: c})(host)
	}
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func newController(ctx context.Context, p place, sm *session.Manager, w worker.Worker,
	hosts docker.RegistryHosts) (*control.Controller, error) {
	wc := &worker.Controller{}
	if err := wc.Add(w); err != nil {
		return nil, fmt.Errorf("add worker: %w", err)
	}
	gw, err := gateway.NewGatewayFrontend(wc.Infos(), nil)
	if err != nil {
		return nil, fmt.Errorf("start gateway frontend: %w", err)
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(p.state(), "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(p.state(), "history.db"), 0o600,
		&bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("open build history: %w", err)
	}
	var noHistory int64
	c, err := control.NewController(control.Opt{
		SessionManager:   sm,
		WorkerController: wc,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(wc.Infos(), dockerfile.Build),
			"gateway.v0":    gw,
		},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registry.ResolveCacheExporterFunc(sm, hosts),
			"local":    local.ResolveCacheExporterFunc(sm),
			"inline":   inline.ResolveCacheExporterFunc(),
			"gha":      gha.ResolveCacheExporterFunc(nil, nil),
			"s3":       s3.ResolveCacheExporterFunc(),
			"azblob":   azblob.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: limitImports(map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registry.ResolveCacheImporterFunc(sm, w.ContentStore(), hosts),
			"local":    local.ResolveCacheImporterFunc(sm),
			"gha":      gha.ResolveCacheImporterFunc(nil, nil),
			"s3":       s3.ResolveCacheImporterFunc(),
			"azblob":   azblob.ResolveCacheImporterFunc(),
		}),
		CacheManager:   solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(wc)),
		Entitlements:   []string{"network.host"},
		HistoryDB:      history,
		HistoryConfig:  &config.HistoryConfig{MaxEntries: &noHistory},
		CacheStore:     cache,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		GarbageCollect: w.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
	if err != nil {
		return nil, fmt.Errorf("start controller: %w", err)
	}
	return c, nil
}
