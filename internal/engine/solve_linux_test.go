package engine_test

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"golang.org/x/sync/errgroup"
)

// step is a shell command that runs in a root with busybox and nothing else.
type step struct {
	sh    string     // what /bin/sh is given
	net   pb.NetMode // default: the engine's
	out   string     // directory that gets what the step leaves in /out
	image string     // root to run in, default busybox of this machine
	cache string     // reference of a registry cache that is read and written
}

// result is what a solve of a step showed.
type result struct {
	cached bool // the step did not run
	log    string
}

// busybox is a root file system with this machine's static busybox.
func busybox() (bkllb.State, error) {
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return bkllb.State{}, err
	}
	return bkllb.Scratch().
		File(bkllb.Mkdir("/bin", 0o755)).
		File(bkllb.Mkfile("/bin/busybox", 0o755, b)).
		File(bkllb.Mkdir("/out", 0o755)), nil
}

// solve runs s on the engine at addr.
func solve(ctx context.Context, addr string, s step) (result, error) {
	root, err := busybox()
	if s.image != "" {
		root, err = bkllb.Image(s.image), nil
	}
	if err != nil {
		return result{}, err
	}
	run := root.Run(bkllb.Args([]string{"/bin/busybox", "sh", "-c", s.sh}), bkllb.AddEnv("PATH", "/bin"),
		bkllb.Network(s.net), bkllb.WithCustomName("the step"))
	def, err := run.AddMount("/out", bkllb.Scratch()).Marshal(ctx)
	if err != nil {
		return result{}, err
	}
	c, err := client.New(ctx, addr)
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	opt := client.SolveOpt{AllowedEntitlements: []string{entitlements.EntitlementNetworkHost.String()}}
	if s.out != "" {
		opt.Exports = []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: s.out}}
	}
	if s.cache != "" {
		opt.CacheImports = []client.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": s.cache}}}
		opt.CacheExports = []client.CacheOptionsEntry{{Type: "registry",
			Attrs: map[string]string{"ref": s.cache, "mode": "max"}}}
	}
	var res result
	var log bytes.Buffer
	status := make(chan *client.SolveStatus)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		_, err := c.Solve(ctx, def, opt, status)
		return err
	})
	eg.Go(func() error {
		for st := range status {
			for _, v := range st.Vertexes {
				if v.Name == "the step" && v.Cached {
					res.cached = true
				}
			}
			for _, l := range st.Logs {
				log.Write(l.Data)
			}
		}
		return nil
	})
	err = eg.Wait()
	res.log = log.String()
	if err != nil {
		return res, errors.Join(err, errors.New(res.log))
	}
	return res, nil
}
