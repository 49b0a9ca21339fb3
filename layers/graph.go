package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

// Labels and annotations that raybuild gives to its images.
const (
	// GraphAnnotation holds the digest of the graph that an image was built from.
	GraphAnnotation = "dev.raybuild.graph"
	// RayLabel and PythonLabel hold the exact versions that all nodes of a cluster must share.
	RayLabel    = "dev.raybuild.ray"
	PythonLabel = "dev.raybuild.python"
)

// GraphOptions are the parts of a graph that are neither in the recipe nor in the lock.
type GraphOptions struct {
	// Platforms to graph. Default: the recipe's.
	Platforms []string
	// Created is the image's time. Default: the time of the lock.
	Created time.Time
	// Compression of the image's layers: "gzip", "zstd" or "estargz". Default: the
	// recipe's, else gzip.
	Compression string
	// Labels and Annotations are added to the recipe's.
	Labels, Annotations map[string]string
	// Packed are the archives of the recipe's files, for a machine without the files. Such a graph
	// cannot be built, but OnImage can put it on an image that has the files. Default: the archives are
	// made from the files.
	Packed []PackedFiles
	// Extra are layers of a Go program. They come after the recipe's.
	Extra []Layer
}

// Graph has the steps that make the image of a recipe and its lock. The same inputs give the same
// Digest on every machine.
type Graph struct {
	// Digest of everything that determines the image's own digest.
	Digest digest.Digest
	// Images has one image for each platform, in the order of the platforms' names.
	Images []llb.Image
	// Annotations of the manifest. GraphAnnotation is one of them.
	Annotations map[string]string
	// Compression of the layers.
	Compression string
	// Artifacts are the files that come from mirrors and package sources, for all platforms, each once.
	Artifacts []Artifact
	// Wheels are the layers of all platforms that are made of wheels, without a builder, each once.
	Wheels []WheelLayer
	// Local are the artifacts that are made of files of this machine.
	Local []LocalFile

	made    []platformMade // one for each of Images
	recipe  *Recipe
	options GraphOptions
	packed  []PackedFiles
	onto    *BuildRecord // of the image that Images are put on; nil: they are built whole
	whole   []llb.Image  // if onto is set: the images as a whole build would make them
}

// NewGraph makes the graph of a recipe and its lock. It reads the local files
// that the recipe names and nothing else.
func NewGraph(ctx context.Context, r *Recipe, l *Lock, o GraphOptions) (*Graph, error) {
	local, err := packed(r, o.Packed)
	if err != nil {
		return nil, err
	}
	platforms := o.Platforms
	if len(platforms) == 0 {
		platforms = r.Platforms
	}
	g := &Graph{Compression: o.Compression, Local: slices.Clone(local), recipe: r, options: o}
	setDefault(&g.Compression, r.Layers.Compression)
	setDefault(&g.Compression, "gzip")
	o.Compression = g.Compression
	for _, f := range local {
		g.packed = append(g.packed, PackedFiles{f.Digest, f.Name, f.Size})
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(platforms)) {
		locked, ok := l.Platforms[name]
		if !ok {
			return nil, fmt.Errorf("graph platform %q: the lock does not have it; run raybuild lock", name)
		}
		image, made, err := graphPlatform(ctx, r, local, name, locked, o)
		if err != nil {
			return nil, fmt.Errorf("graph platform %q: %w", name, err)
		}
		g.Images, g.made = append(g.Images, image), append(g.made, made)
		g.addWheels(made.stacks[len(made.stacks)-1].wheels)
		for _, a := range locked.artifacts() {
			if a.Origin == originLocal {
				g.Local = append(g.Local, localWheel(r.Dir, a))
			} else if !seen[a.SHA256] {
				seen[a.SHA256] = true
				g.Artifacts = append(g.Artifacts, a)
			}
		}
	}
	g.Annotations = annotations(r, l.Platforms[platforms[0]], o)
	if g.Digest, err = g.digest(ctx); err != nil {
		return nil, err
	}
	g.Annotations[GraphAnnotation] = g.Digest.String()
	return g, nil
}

// MakesWheels tells whether layers of wheels stay as raybuild makes them. Otherwise a builder packs them anew: only a
// builder makes zstd.
func (g *Graph) MakesWheels() bool { return g.Compression != "zstd" }

// WheelKeys returns the keys of each image's layers that are made of wheels, in the image's order.
func (g *Graph) WheelKeys() [][]digest.Digest {
	images := g.Images
	if g.onto != nil {
		images = g.whole
	}
	all := make([][]digest.Digest, len(images))
	for i, image := range images {
		for _, l := range image.Layers {
			if key, ok := l.Stage.Given(); ok {
				all[i] = append(all[i], key)
			}
		}
	}
	return all
}

func (g *Graph) addWheels(all []WheelLayer) {
	for _, w := range all {
		if !slices.ContainsFunc(g.Wheels, func(have WheelLayer) bool { return have.Key == w.Key }) {
			g.Wheels = append(g.Wheels, w)
		}
	}
}

func graphPlatform(ctx context.Context, r *Recipe, local []LocalFile, name string, locked *LockPlatform,
	o GraphOptions) (llb.Image, platformMade, error) {
	platform, err := llb.ParsePlatform(name)
	if err != nil {
		return llb.Image{}, platformMade{}, err
	}
	all := append(recipeLayers(r, local), o.Extra...)
	if err := checkNames(all); err != nil {
		return llb.Image{}, platformMade{}, err
	}
	stack := newStack(platform, locked)
	stack.compression = o.Compression
	made := platformMade{name: name, stacks: []Stack{stack}, layers: all, locked: locked}
	for _, layer := range all {
		if err := ctx.Err(); err != nil {
			return llb.Image{}, platformMade{}, err
		}
		if stack, err = layer.Apply(stack, locked.layer(layer.Name())); err != nil {
			return llb.Image{}, platformMade{}, err
		}
		made.stacks = append(made.stacks, stack)
	}
	return stack.image(r, locked, o), made, nil
}

// recipeLayers are the layers of a recipe, each after those that it needs.
func recipeLayers(r *Recipe, local []LocalFile) []Layer {
	e := env{Env: r.Env, file: r.EnvFile, accept: r.Miniconda.AcceptAnacondaTerms, pins: r.CondaPins}
	p := python{Ray: r.Ray, Pip: r.Pip, required: r.Required, lock: r.PythonLock, pins: r.constraints(), env: e,
		apt: r.Apt, dir: r.Dir, rules: r.Layers}
	if r.EnvFile != nil {
		p.envPip = r.EnvFile.Pip
	}
	out := []Layer{
		user{name: r.Image.User},
		apt{Apt: r.Apt},
		miniconda{Miniconda: r.Miniconda},
		e,
		p,
		configure{mirror: r.Mirrors.Image, channels: r.Env.Channels},
		files{archives: local, copies: r.Files},
	}
	for _, s := range r.Steps {
		out = append(out, step{Step: s, env: stepEnv(r, e), user: r.Image.User})
	}
	p.rules = LayerRules{MaxSize: math.MaxInt64} // what is added is one layer
	for i, requirements := range r.Pip.Added {
		out = append(out, added{python: p, n: i + 1, requirements: requirements})
	}
	return out
}

// newStack is the stack that the first layer stands on.
func newStack(p llb.Platform, locked *LockPlatform) Stack {
	return Stack{
		Platform: p, Base: locked.Base, Tool: locked.Tool,
		BaseStage: llb.From(pinned(locked.Base)), ToolStage: llb.From(pinned(locked.Tool)),
		python: pythonOf(locked.layer("env")), replaced: replacedPackages(locked),
	}
}

func pinned(i LockImage) string { return i.Reference + "@" + i.Digest.String() }

// image is the stack as an image, with its whole config.
func (g Stack) image(r *Recipe, locked *LockPlatform, o GraphOptions) llb.Image {
	created := o.Created
	if created.IsZero() {
		created = locked.Resolved
	}
	history := make([]string, 0, g.Base.Layers+len(g.front))
	for i := range g.Base.Layers {
		history = append(history, fmt.Sprintf("%s layer %d of %d", g.Base.Reference, i+1, g.Base.Layers))
	}
	return llb.Image{
		Platform:   g.Platform,
		Base:       g.BaseStage,
		BaseLayers: append(history, g.front...),
		Layers:     g.layers,
		Config:     imageConfig(r, locked, o),
		Created:    created.UTC(),
	}
}

// imageConfig is what the image runs with.
func imageConfig(r *Recipe, locked *LockPlatform, o GraphOptions) ocispecs.ImageConfig {
	labels := map[string]string{
		RayLabel:    version(locked.layer("ray"), "ray"),
		PythonLabel: condaPython(locked.layer("env")),
	}
	maps.Copy(labels, r.Image.Labels)
	maps.Copy(labels, o.Labels)
	c := ocispecs.ImageConfig{
		Env: imageEnv(r, locked.Base.Env), Labels: labels, WorkingDir: r.Image.Workdir,
		Entrypoint: r.Image.Entrypoint, Cmd: r.Image.Cmd,
	}
	if len(c.Cmd) == 0 && len(c.Entrypoint) == 0 {
		c.Cmd = []string{"/bin/bash"}
	}
	if r.Image.User != "root" {
		c.User = fmt.Sprintf("%d:%d", UserID, GroupID)
	}
	return c
}

// imageEnv are the image's variables, sorted: the base's, the environment's,
// and the recipe's, later ones first.
func imageEnv(r *Recipe, base []string) []string {
	vars := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
	for _, v := range base {
		if name, value, ok := strings.Cut(v, "="); ok {
			vars[name] = value
		}
	}
	vars["HOME"] = home(r.Image.User)
	maps.Copy(vars, env{Env: r.Env}.variables(vars["PATH"]))
	maps.Copy(vars, r.Image.Env)
	out := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, name+"="+vars[name])
	}
	return out
}

// stepEnv are the variables of a user's step: those of the environment, and the recipe's. Its home is that of the
// image's user; pip's cache would fill it.
func stepEnv(r *Recipe, e env) map[string]string {
	vars := e.variables("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	vars["PIP_NO_CACHE_DIR"] = "1"
	maps.Copy(vars, r.Image.Env)
	vars["HOME"] = home(r.Image.User)
	return vars
}

// annotations of the manifest by the OCI image specification's names.
func annotations(r *Recipe, locked *LockPlatform, o GraphOptions) map[string]string {
	created := o.Created
	if created.IsZero() {
		created = locked.Resolved
	}
	out := map[string]string{
		ocispecs.AnnotationBaseImageName:   locked.Base.Reference,
		ocispecs.AnnotationBaseImageDigest: locked.Base.Digest.String(),
		ocispecs.AnnotationCreated:         created.UTC().Format(time.RFC3339),
	}
	maps.Copy(out, r.Image.Annotations)
	maps.Copy(out, o.Annotations)
	return out
}

// digest is that of everything that the image's digest follows from.
func (g *Graph) digest(ctx context.Context) (digest.Digest, error) {
	type part struct {
		Platform   string
		Definition digest.Digest
	}
	var parts []part
	for _, image := range g.Images {
		def, err := image.Marshal(ctx, false)
		if err != nil {
			return "", err
		}
		parts = append(parts, part{llb.FormatPlatform(image.Platform), def.Digest()})
	}
	data, err := json.Marshal(struct {
		Parts       []part
		Annotations map[string]string
		Compression string
	}{parts, g.Annotations, g.packing()})
	if err != nil {
		return "", fmt.Errorf("digest graph: %w", err)
	}
	return digest.FromBytes(data), nil
}

// packing names what layers' compressed bytes depend on beside the files in them.
func (g *Graph) packing() string {
	if g.Compression == "zstd" {
		return g.Compression
	}
	return fmt.Sprintf("%s level %d", g.Compression, llb.GzipLevel)
}

// packLocal makes the archives of the recipe's files.
func packLocal(r *Recipe) ([]LocalFile, error) {
	if len(r.Files) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of the recipe %q: %w", r.Dir, err)
	}
	// The archives are read again when a builder asks for them, so root stays
	// open as long as the process does.
	out := make([]LocalFile, len(r.Files))
	for i, c := range r.Files {
		if out[i], err = packFiles(root, c, r.Image.User); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (l *LockPlatform) layer(name string) []Artifact {
	for _, layer := range l.Layers {
		if layer.Name == name {
			return layer.Artifacts
		}
	}
	return nil
}

func (l *LockPlatform) artifacts() []Artifact {
	var out []Artifact
	for _, layer := range l.Layers {
		out = append(out, layer.Artifacts...)
	}
	return out
}

// version is that of the named artifact, or "".
func version(artifacts []Artifact, name string) string {
	for _, a := range artifacts {
		if a.Name == name {
			return a.Version
		}
	}
	return ""
}

// originLocal is the origin of artifacts that lie beside the recipe.
const originLocal = "local"

func localWheel(dir string, a Artifact) LocalFile {
	return LocalFile{Digest: a.Digest(), Name: a.Filename(), Size: a.Size, Open: openIn(dir, a.Path)}
}
