package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

func (a *app) diffCommand() *cobra.Command {
	var (
		insecure []string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differs between two images, and what a node on A pulls for B",
		Long: `diff compares two images of registries: packages that were added, removed and changed (apt, conda, pip, installer, base), from
the locks that travel with images that raybuild pushed; their configs; their layers; and how many bytes a node that holds A pulls
for B. Of images without a lock it compares config and layers, and says so. No layer is pulled.`,
		Example: `  raybuild diff registry.example/ray:2.59.0 registry.example/ray:2.60.0
  raybuild diff --json registry.example/ray:main registry.example/ray:pr-7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("%q takes two images, got %d: see %s --help", cmd.CommandPath(), len(args), cmd.CommandPath())
			}
			return images(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.diff(cmd.Context(), registry.New(registry.Options{Insecure: insecure}), args[0], args[1], asJSON)
		},
	}
	insecureFlag(cmd.Flags(), &insecure)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// diffReport is what diff prints with --json. Sizes are bytes.
type diffReport struct {
	A         string          `json:"a"` // by digest
	B         string          `json:"b"`
	Same      bool            `json:"same"`           // one digest
	Locks     bool            `json:"locks"`          // both carry a lock, so packages are known
	Packages  []packageChange `json:"packages"`       // by platform, layer, kind and name
	Config    []configChange  `json:"config"`         // by platform and key
	Layers    []layerChange   `json:"layers"`         // of B in its order, then those of A alone
	Pull      int64           `json:"pull_bytes"`     // by a node that holds A; a node pulls one platform
	Platforms []platformPull  `json:"platform_bytes"` // the same for each platform
}

type packageChange struct {
	Platform string `json:"platform"`
	Kind     string `json:"kind"`   // apt, conda, pip, installer, base, tool, file
	Change   string `json:"change"` // added, removed, changed
	Name     string `json:"name"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

type configChange struct {
	Platform string `json:"platform"`
	Key      string `json:"key"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

type layerChange struct {
	Platform string        `json:"platform"`
	State    string        `json:"state"` // shared, new, gone
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	History  string        `json:"history,omitempty"`
}

type platformPull struct {
	Platform string `json:"platform"`
	Bytes    int64  `json:"bytes"`
}

func (a *app) diff(ctx context.Context, c *registry.Client, first, second string, asJSON bool) error {
	r, err := compareImages(ctx, c, first, second)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(r)
	}
	return a.print("%s", r.text())
}

// compareImages makes the report.
func compareImages(ctx context.Context, c *registry.Client, first, second string) (*diffReport, error) {
	was, err := carriedOnly(ctx, c, first)
	if err != nil {
		return nil, err
	}
	is, err := carriedOnly(ctx, c, second)
	if err != nil {
		return nil, err
	}
	r := &diffReport{A: was.Ref, B: is.Ref, Same: was.Digest == is.Digest, Packages: []packageChange{}, Config: []configChange{}, Layers: []layerChange{}, Platforms: []platformPull{}}
	oldLock, err := lockOf(ctx, c, was.Ref)
	if err != nil {
		return nil, err
	}
	newLock, err := lockOf(ctx, c, is.Ref)
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

// carriedOnly reads an image without its record.
func carriedOnly(ctx context.Context, c *registry.Client, ref string) (*carried, error) {
	image, err := c.Inspect(ctx, ref)
	return &carried{Image: image}, err
}

// lockOf is the lock that travels with an image, or nil.
func lockOf(ctx context.Context, c *registry.Client, ref string) (*layers.Lock, error) {
	found, err := c.Attached(ctx, ref, lockType)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return layers.ParseLock(found[len(found)-1].Data, "lock of "+ref)
}

// packages turns the difference of two locks into package systems' terms.
func (r *diffReport) packages(changes []layers.Change) {
	systems := map[string]string{
		layers.KindDeb: "apt", layers.KindConda: "conda", layers.KindWheel: "pip", layers.KindSdist: "pip",
		layers.KindInstaller: "installer", layers.KindFile: "file",
	}
	for _, c := range changes {
		p := packageChange{Platform: c.Platform, Kind: systems[c.Kind], Change: "changed", Name: c.Name, From: c.From, To: c.To}
		if p.Kind == "" { // an image: its layer is base or tool
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

// platform compares the images of one platform; was is nil where A lacks it.
func (r *diffReport) platform(name string, was *registry.PlatformImage, is registry.PlatformImage) {
	if was == nil {
		was = &registry.PlatformImage{}
	}
	old, now := configValues(was.Config), configValues(is.Config)
	keys := maps.Clone(old)
	maps.Copy(keys, now)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if old[k] != now[k] {
			r.Config = append(r.Config, configChange{name, k, old[k], now[k]})
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
		if had[l.Digest] || has[l.Digest] { // a blob that is there twice is pulled once
			state = "shared"
			pull -= l.Size
		}
		has[l.Digest] = true
		r.Layers = append(r.Layers, layerChange{name, state, l.Digest, l.Size, l.History})
	}
	for _, l := range was.Layers {
		if !has[l.Digest] {
			r.Layers = append(r.Layers, layerChange{name, "gone", l.Digest, l.Size, l.History})
		}
	}
	pull = max(pull, 0)
	r.Platforms = append(r.Platforms, platformPull{name, pull})
	r.Pull = max(r.Pull, pull)
}

// configValues are what containers are started with, by name.
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

// text is the report for people.
func (r *diffReport) text() string {
	if r.Same {
		return "the same image: " + r.A
	}
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n", r.A, r.B)
	sign := map[string]string{"added": "+", "removed": "-", "changed": "~"}
	rows := [][]string{}
	for _, p := range r.Packages {
		rows = append(rows, []string{sign[p.Change], p.Kind, printable(p.Name), printable(arrow(p.From, p.To)), r.of(p.Platform)})
	}
	section := func(title, none string) {
		if len(rows) == 0 {
			title, rows = title+": "+none, nil
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		if len(rows) > 0 {
			b.WriteString(table(rows) + "\n")
		}
		rows = nil
	}
	if r.Locks {
		section("packages", "no difference")
	} else {
		section("packages", "not known, one of the images carries no lock (not pushed by raybuild, or copied without its referrers)")
	}
	for _, c := range r.Config {
		rows = append(rows, []string{printable(c.Key), oneLine(printable(arrow(c.From, c.To)), 120), r.of(c.Platform)})
	}
	section("config", "no difference")
	for _, l := range r.Layers {
		rows = append(rows, []string{l.State, short(l.Digest.String()), size(l.Size), oneLine(printable(l.History), 60), r.of(l.Platform)})
	}
	section("layers", "none")
	for _, p := range r.Platforms {
		fmt.Fprintf(&b, "\na node that holds A pulls %s for B %s", size(p.Bytes), r.of(p.Platform))
	}
	return strings.TrimSpace(b.String())
}

// of names the platform where there are several.
func (r *diffReport) of(platform string) string {
	if len(r.Platforms) < 2 {
		return ""
	}
	return "(" + platform + ")"
}

func arrow(from, to string) string {
	switch {
	case from == "":
		return to
	case to == "":
		return from
	}
	return from + " → " + to
}
