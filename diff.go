package raybuild

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// ImageDiff says how the images A and B differ. Sizes are in bytes. Its JSON is that of "raybuild diff --json".
type ImageDiff struct {
	A         string          `json:"a"` // by digest
	B         string          `json:"b"`
	Same      bool            `json:"same"`           // both have the same digest
	Locks     bool            `json:"locks"`          // both carry a lock, so packages are known
	Packages  []PackageChange `json:"packages"`       // by platform, layer, kind and name
	Config    []ConfigChange  `json:"config"`         // by platform and key
	Layers    []LayerChange   `json:"layers"`         // layers of B in their order, then layers that only A has
	Pull      int64           `json:"pull_bytes"`     // what a node that has A pulls; the largest of all platforms
	Platforms []PlatformPull  `json:"platform_bytes"` // what it pulls for each platform
}

// PackageChange is a package that differs between two images.
type PackageChange struct {
	Platform string `json:"platform"`
	Kind     string `json:"kind"`   // apt, conda, pip, installer, base, tool, file
	Change   string `json:"change"` // added, removed, changed
	Name     string `json:"name"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

// ConfigChange is a value of the image config that differs between two images.
type ConfigChange struct {
	Platform string `json:"platform"`
	Key      string `json:"key"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

// LayerChange is a layer of one or both images.
type LayerChange struct {
	Platform string        `json:"platform"`
	State    string        `json:"state"` // shared, new, gone
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	History  string        `json:"history,omitempty"`
}

// PlatformPull is the number of bytes that a node of one platform pulls.
type PlatformPull struct {
	Platform string `json:"platform"`
	Bytes    int64  `json:"bytes"`
}

// Diff says how two images differ, and how many bytes a node that has a pulls for b. It compares
// packages (by the locks of images that raybuild pushed), config and layers. It pulls no layer.
func Diff(ctx context.Context, a, b string, o Options) (_ *ImageDiff, err error) {
	defer public(ctx, &err)
	return compareImages(ctx, newEnv(o).client(), a, b)
}

func compareImages(ctx context.Context, c *registry.Client, first, second string) (*ImageDiff, error) {
	was, err := loadImageAlone(ctx, c, first)
	if err != nil {
		return nil, err
	}
	is, err := loadImageAlone(ctx, c, second)
	if err != nil {
		return nil, err
	}
	r := &ImageDiff{A: was.Ref, B: is.Ref, Same: was.Digest == is.Digest, Packages: []PackageChange{},
		Config: []ConfigChange{}, Layers: []LayerChange{}, Platforms: []PlatformPull{}}
	oldLock, err := lockOf(ctx, c, &was.Image)
	if err != nil {
		return nil, err
	}
	newLock, err := lockOf(ctx, c, &is.Image)
	if err != nil {
		return nil, err
	}
	if r.Locks = oldLock != nil && newLock != nil; r.Locks {
		r.packages(layers.Diff(oldLock, newLock))
	}
	for _, p := range is.Platforms {
		name := llb.FormatPlatform(p.Platform)
		r.platform(name, was.platform(name), p)
	}
	return r, nil
}

// loadImageAlone reads an image without its record.
func loadImageAlone(ctx context.Context, c *registry.Client, ref string) (*pushedImage, error) {
	image, err := c.Inspect(ctx, ref)
	return &pushedImage{Image: image}, err
}

// packages adds the changes between two locks, with the names of package systems (apt, conda, pip).
func (r *ImageDiff) packages(changes []layers.Change) {
	systems := map[string]string{
		layers.KindDeb: "apt", layers.KindConda: "conda", layers.KindWheel: "pip", layers.KindSdist: "pip",
		layers.KindInstaller: "installer", layers.KindFile: "file",
	}
	for _, c := range changes {
		p := PackageChange{Platform: c.Platform, Kind: systems[c.Kind], Change: "changed", Name: c.Name,
			From: c.From, To: c.To}
		if p.Kind == "" { // the change is of an image, and its layer is base or tool
			p.Kind = c.Layer
		}
		if c.From == "" {
			p.Change = "added"
		} else if c.To == "" {
			p.Change = "removed"
		}
		r.Packages = append(r.Packages, p)
	}
}

// platform compares the images of one platform. was is nil if A lacks the platform.
func (r *ImageDiff) platform(name string, was *registry.PlatformImage, is registry.PlatformImage) {
	if was == nil {
		was = &registry.PlatformImage{}
	}
	old, now := configValues(was.Config), configValues(is.Config)
	keys := maps.Clone(old)
	maps.Copy(keys, now)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if old[k] != now[k] {
			r.Config = append(r.Config, ConfigChange{name, k, old[k], now[k]})
		}
	}
	had, has := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, l := range was.Layers {
		had[l.Digest] = true
	}
	pull := is.Size // config and layers
	if was.Digest == is.Digest {
		pull = 0
	}
	for _, l := range is.Layers {
		state := "new"
		if had[l.Digest] || has[l.Digest] { // a node pulls a blob only once
			state = "shared"
			pull -= l.Size
		}
		has[l.Digest] = true
		r.Layers = append(r.Layers, LayerChange{name, state, l.Digest, l.Size, l.History})
	}
	for _, l := range was.Layers {
		if !has[l.Digest] {
			r.Layers = append(r.Layers, LayerChange{name, "gone", l.Digest, l.Size, l.History})
		}
	}
	pull = max(pull, 0)
	r.Platforms = append(r.Platforms, PlatformPull{name, pull})
	r.Pull = max(r.Pull, pull)
}

// configValues returns the config values that affect containers, by name.
func configValues(c ocispecs.ImageConfig) map[string]string {
	out := map[string]string{}
	set := func(k, v string) {
		if v != "" {
			out[k] = v
		}
	}
	for _, v := range c.Env {
		name, value, _ := strings.Cut(v, "=")
		out["env "+name] = value
	}
	for k, v := range c.Labels {
		out["label "+k] = v
	}
	for p := range c.ExposedPorts {
		out["port "+p] = "exposed"
	}
	for v := range c.Volumes {
		out["volume "+v] = "declared"
	}
	set("user", c.User)
	set("workdir", c.WorkingDir)
	set("entrypoint", strings.Join(c.Entrypoint, " "))
	set("cmd", strings.Join(c.Cmd, " "))
	set("stop signal", c.StopSignal)
	return out
}
