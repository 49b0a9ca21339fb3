package layers

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// added are packages that were put on top of a finished image. They stand on
// the environment alone, as all Python packages do, and are merged last, so that
// no other layer moves.
type added struct {
	python
	n            int // the first is 1
	requirements []string
}

const addedPrefix = "add-"

func addedName(n int) string { return addedPrefix + strconv.Itoa(n) }

// isAdded tells whether a layer's name is that of added packages.
func isAdded(name string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(name, addedPrefix))
	return err == nil && n > 0 && name == addedName(n)
}

func (a added) Name() string  { return addedName(a.n) }
func (added) Needs() []string { return []string{"ray"} }

func (a added) Resolve(ctx context.Context, r *Resolver) ([]Artifact, error) {
	return resolveAdded(ctx, r, a)
}

// Apply adds one layer, or none where all that was asked for is there.
func (a added) Apply(on Stack, locked []Artifact) (Stack, error) {
	wheels := ofKind(locked, KindWheel)
	if len(wheels) == 0 {
		return on, nil
	}
	if compiler := compiler(on, locked); converts(compiler.Version) {
		return a.addWheels(on, a.Name(), wheelGroup{name: a.Name(), wheels: wheels}, compiler), nil
	}
	step, err := a.installWheels(wheelGroup{name: a.Name(), wheels: wheels})
	if err != nil {
		return on, err
	}
	step.Mounts = append(step.Mounts, a.envMount(on))
	made := on.ToolStage.Make(step, llb.Output{Path: work + "/out", On: llb.Scratch()})
	return on.Add(a.Name(), a.Name(), step.Title, made), nil
}

func (a added) inputs(on Stack, _ string, locked []Artifact) (inputSet, error) {
	if compiler := compiler(on, locked); converts(compiler.Version) {
		return a.wheelInputs(compiler, a.Name(), wheelGroup{name: a.Name(), wheels: ofKind(locked, KindWheel)}), nil
	}
	s := inputSet{on: []string{"env"}, values: map[string]string{
		"tool": pinned(on.Tool), "env.name": a.env.Env.Name,
		stepTextInput: textDigest(preludeText, wheelInstallText, wheelInstallProgram),
	}}
	s.addArtifacts(ofKind(locked, KindWheel))
	return s, nil
}

// addedInputs are what the nth added packages are resolved for: what is asked
// for, then and before, and what that stood on.
func addedInputs(p Pip, n int, ray digest.Digest) digest.Digest {
	return digestOf([]any{p.Added[:n], p.ExtraIndexes, ray})
}

// pythonLayers are the layers of the lock that Python packages are in, in their order.
func (l *LockPlatform) pythonLayers() []LockLayer {
	var out []LockLayer
	for _, layer := range l.Layers {
		if layer.Name == "ray" || isAdded(layer.Name) {
			out = append(out, layer)
		}
	}
	return out
}

// packed are the archives of the recipe's files, or what a record says of them.
func packed(r *Recipe, known []PackedFiles) ([]LocalFile, error) {
	if len(known) == 0 {
		return packLocal(r)
	}
	if len(known) != len(r.Files) {
		return nil, fmt.Errorf("read record of the recipe: it has %d archives for %d files: push the image again",
			len(known), len(r.Files))
	}
	out := make([]LocalFile, len(known))
	for i, f := range known {
		out[i] = LocalFile{Digest: f.Digest, Name: f.Name, Size: f.Size, Open: openIn(r.Dir, r.Files[i].From)}
	}
	return out, nil
}
