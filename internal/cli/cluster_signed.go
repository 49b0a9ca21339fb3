package cli

import (
	"context"
	"path/filepath"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
)

// verifySigned returns what tells who has signed an image of a cluster. Paths of the cluster's file are relative to it.
func (a *app) verifySigned(o *clusterOptions,
	c *registry.Client) func(context.Context, string, cluster.Trust) (string, error) {
	dir := filepath.Dir(a.path(o.file))
	return func(ctx context.Context, ref string, t cluster.Trust) (string, error) {
		cache := "" // without a home the root of keyless signatures is not kept
		if home, err := a.makeHome(); err == nil {
			cache = filepath.Join(home, "sigstore")
		}
		known, err := signing.ReadTrust(t, dir, signing.RootOf(t, dir, cache))
		if err != nil {
			return "", err
		}
		return known.Verify(ctx, c, ref)
	}
}
