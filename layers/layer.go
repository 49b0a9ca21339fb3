package layers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// Layer is a named piece of an image. Resolve asks package sources for the artifacts, and Apply
// installs them. A layer does not fetch: it names artifacts by their digests, and raybuild brings them.
type Layer interface {
	// Name identifies the layer in progress, errors, the lock and needs.
	Name() string
	// Needs are the names of the layers that this one is built on. The base and the tool stage are
	// always there.
	Needs() []string
	// Resolve returns the exact artifacts that the layer installs. A layer without artifacts, such as
	// a user's own step, returns nil.
	Resolve(ctx context.Context, r *Resolver) ([]Artifact, error)
	// Apply adds the layer to on. It is pure: it does not use clock, environment or network.
	Apply(on Stack, locked []Artifact) (Stack, error)
}

// LockedLayer is a layer of a Go program that has artifacts. The lock names them, as it does for the
// recipe's layers. raybuild calls Resolve again if Inputs has changed, or if an update of the lock
// names the layer.
type LockedLayer interface {
	Layer
	// Inputs is the digest of what Resolve asks for, such as a name and a version.
	Inputs() digest.Digest
}

// Ids of the image's user, as in Ray's own images (ray-project/ray,
// docker/base-deps/Dockerfile): group 100 is "users" on Debian and Ubuntu.
const (
	UserID  = 1000
	GroupID = 100
)

const (
	condaPrefix = "/opt/conda"
	tmp         = "/tmp"
	// work is where steps find their inputs. It lies on a tmpfs, so that mount
	// points leave nothing behind.
	work = "/tmp/raybuild"
)

// Stack is what a layer is built on: the base, the tool stage, and the layers before it. It is a
// value; ChainOnBase and Add return a new one.
type Stack struct {
	// Platform of the image.
	Platform llb.Platform
	// Base and Tool are the two pinned images, as the lock has them.
	Base, Tool LockImage
	// BaseStage is Base with the layers that are chained on it.
	BaseStage llb.Stage
	// ToolStage is Tool as a stage. The steps of all other layers run on it.
	ToolStage llb.Stage

	front  []string    // history texts of the layers of BaseStage that are ours
	fronts []llb.Stage // and BaseStage as it was with each of them
	layers []llb.Layer // in the order of the merge
	owner  []string    // for each of layers, the Layer that added it

	wheels []WheelLayer // those of layers that are made of wheels
	python Artifact     // of the environment

	activates bool // packages of the environment want variables

	replaced []Artifact // of conda's packages: wheels of the lock come in their place
	whole    *llb.Stage // the environment with them, for builds of sources; nil: nothing is replaced

	compression string // of the image's layers
}

// ChainOnBase returns the stack with a new base stage: s, which is g.BaseStage after one more step.
func (g Stack) ChainOnBase(title string, s llb.Stage) Stack {
	g.BaseStage = s
	g.front = append(slices.Clip(g.front), title)
	g.fronts = append(slices.Clip(g.fronts), s)
	return g
}

// Add returns the stack with one more layer, a tree that is merged over those
// before it. layer is the Layer that it belongs to, name its own.
func (g Stack) Add(layer, name, title string, s llb.Stage) Stack {
	g.layers = append(slices.Clip(g.layers), llb.Layer{Name: name, Title: title, Stage: s})
	g.owner = append(slices.Clip(g.owner), layer)
	return g
}

// Tree is what the named layers have added, merged.
func (g Stack) Tree(title string, layers ...string) llb.Stage {
	var trees []llb.Stage
	for i, l := range g.layers {
		if slices.Contains(layers, g.owner[i]) {
			trees = append(trees, l.Stage)
		}
	}
	return llb.Merge(title, trees...)
}

// shell is a step that runs a script of this package.
func shell(title, script string, env map[string]string, args ...string) llb.Exec {
	full := map[string]string{
		"DEBIAN_FRONTEND": "noninteractive",
		"HOME":            work + "/home",
		"LC_ALL":          "C.UTF-8",
		"PATH":            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		// Hash orders of perl and python reach files that they write.
		"PERL_HASH_SEED":    "0",
		"PERL_PERTURB_KEYS": "0",
		"PYTHONHASHSEED":    "0",
		"SOURCE_DATE_EPOCH": strconv.FormatInt(llb.Epoch().Unix(), 10),
		"TMPDIR":            tmp,
		"TZ":                "UTC",
	}
	maps.Copy(full, env)
	full["SCRIPT"] = script
	return llb.Exec{
		Title: title,
		// Builders print the command of a step that fails; so the text is not in it.
		Args:  append([]string{"/bin/sh", "-euc", `script=$SCRIPT; unset SCRIPT; eval "$script"`, "raybuild"}, args...),
		Env:   full,
		Dir:   "/",
		Tmpfs: []string{tmp},
	}
}

// frame is a tree that has nothing but the directory dir: what an output is
// mounted from, so that its files get their real absolute path.
func frame(layer, dir string) llb.Stage {
	return llb.Scratch().Files("["+layer+"] make "+dir, llb.File{Path: dir, Dir: true})
}

// artifactDir is a directory with all of the artifacts, each under its file name.
func artifactDir(title string, artifacts []Artifact) (llb.Stage, error) {
	stages := make([]llb.Stage, len(artifacts))
	seen := map[string]string{}
	for i, a := range artifacts {
		name := a.Filename()
		if other, ok := seen[name]; ok && other != a.SHA256 {
			return llb.Stage{}, fmt.Errorf("collect artifacts: two files are named %q, of digests %s and %s", name,
				other, a.SHA256)
		}
		seen[name] = a.SHA256
		stages[i] = llb.Artifact(llb.Blob{Digest: a.Digest(), Name: name})
	}
	return llb.Merge(title, stages...), nil
}

// ofKind are the artifacts of one of the kinds.
func ofKind(artifacts []Artifact, kinds ...string) []Artifact {
	var out []Artifact
	for _, a := range artifacts {
		if slices.Contains(kinds, a.Kind) {
			out = append(out, a)
		}
	}
	return out
}
