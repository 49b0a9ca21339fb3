package llb

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// storeExporter is the one exporter of images in a Docker Engine that keeps them unpacked in a graph driver
// (moby/moby, daemon/internal/builder-next/worker: it refuses "image", "oci" and "docker").
const storeExporter = "moby"

// storeOnly refuses what a builder with an image store of its own cannot write.
func (o BuildOptions) storeOnly(images int) error {
	var what string
	switch {
	case o.OCI != nil || o.Docker != nil:
		what = "write image archives"
	case images > 1:
		what = "make an image of several platforms"
	case o.Compression != "" && o.Compression != "gzip":
		what = "compress layers by " + o.Compression
	case slices.ContainsFunc(o.CacheTo, CacheEntry.mustBeWritten):
		what = "export its cache"
	default:
		return nil
	}
	return refusedByStore(what)
}

func refusedByStore(what string) error {
	return fmt.Errorf("build image: this builder keeps images in a Docker Engine's graph driver and cannot %s: use "+
		"the embedded engine, or turn on the Engine's containerd image store", what)
}

// storeExports put the image into the builder's own store under its names, and its files into [BuildOptions.Local].
func (o BuildOptions) storeExports() []client.ExportEntry {
	attrs := map[string]string{}
	if len(o.Names) > 0 {
		attrs[string(exptypes.OptKeyName)] = strings.Join(o.Names, ",")
	}
	all := []client.ExportEntry{{Type: storeExporter, Attrs: attrs}}
	if o.Local != "" {
		all = append(all, client.ExportEntry{Type: client.ExporterLocal, OutputDir: o.Local})
	}
	return all
}

// describeStored reads what the store's exporter answered: the digest that it gives is that of the
// config, by which the Engine knows the image. A manifest comes into being by a push.
func (r *Result) describeStored() {
	r.Stored = digest.Digest(r.Attrs[exptypes.ExporterImageDigestKey])
	r.Images[0].Config = r.Stored
}

// Stored records the manifest of an image that was pushed to a registry from a builder's own store (see [Dialer]).
func (r *Build) Stored(manifest []byte) error {
	var m ocispecs.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("read the manifest that was pushed: %w", err)
	}
	res := r.Result
	if m.Config.Digest != res.Stored {
		return errors.New("the manifest that was pushed is of another image: " + m.Config.Digest.String())
	}
	res.Digest = digest.FromBytes(manifest)
	res.Images[0].Manifest = res.Digest
	return res.Images[0].layers(m)
}
