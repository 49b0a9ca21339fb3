package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// forIsolation is the fact "no" of a source distribution that is built with the packages of the environment.
const forIsolation = "isolation"

// openBuilds finds the packages whose builds import what is installed (pip.no_build_isolation). The others are resolved
// and installed first; there these packages tell what they need. They come beside the question then, as files by URL.
func (r *Resolver) openBuilds(ctx context.Context, p python, own []Artifact,
	locked *lockedPackages) ([]Artifact, error) {
	if len(p.NoBuildIsolation) == 0 {
		return own, nil
	}
	isOpen := func(a Artifact) bool { return slices.Contains(p.NoBuildIsolation, a.Name) }
	open := slices.DeleteFunc(slices.Clone(own), func(a Artifact) bool { return !isOpen(a) })
	own = slices.DeleteFunc(slices.Clone(own), isOpen)
	lines, err := p.openLines(open)
	if err != nil || len(lines)+len(open) == 0 {
		return own, err
	}
	rest := p
	rest.left = p.NoBuildIsolation
	first, err := r.resolveFiles(ctx, rest, own, locked)
	if err != nil {
		return nil, err
	}
	r.know(first)
	there, err := rest.installed(r.stack, first)
	if err != nil {
		return nil, err
	}
	options, err := p.pipOptions(r.allow)
	if err != nil {
		return nil, err
	}
	ask := pipQuestion{
		layer: "ray", wheels: open, requirements: append(lines, ownLines(open)...), env: &there,
		builds:  len(p.apt.Packages) > 0,
		options: append(options, "--no-deps", "--ignore-installed", "--no-build-isolation"),
	}
	ask.constraints = slices.Concat(p.pins, r.heldOf(p.NoBuildIsolation))
	artifacts, answer, err := r.askPip(ctx, p, ask)
	if answer.failed && len(ask.constraints) > len(p.pins) {
		ask.constraints = p.pins // the old versions are in the way
		artifacts, answer, err = r.askPip(ctx, p, ask)
	}
	if err != nil {
		return nil, err
	}
	if err := r.noteOpen(artifacts, answer); err != nil {
		return nil, err
	}
	r.know(artifacts)
	return slices.Concat(own, artifacts), checkHashes(artifacts, p.required)
}

// heldOf are the pins of the old lock for the named packages.
func (r *Resolver) heldOf(packages []string) []string {
	return slices.DeleteFunc(r.heldPins(), func(pin string) bool {
		return !slices.Contains(packages, names([]string{pin})[0])
	})
}

// noteOpen notes what the packages have told of themselves, and which of them are built without isolation.
func (r *Resolver) noteOpen(artifacts []Artifact, answer pipAnswer) error {
	if answer.report == nil {
		return errors.New("build without isolation: the pip of this Python is older than 22.2: set a newer env.python")
	}
	told, err := reportedMetadata(answer.report)
	if err != nil {
		return err
	}
	if r.told == nil {
		r.told = map[string]string{}
	}
	for i, a := range artifacts {
		if a.Kind == KindSdist {
			artifacts[i].For = withFact(a.For, forIsolation, "no")
		}
		r.told[a.SHA256] = told[a.Filename()]
	}
	return nil
}

// openLines are what the recipe asks of the packages that are built without isolation, as an index is asked.
func (p python) openLines(own []Artifact) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, a := range own {
		seen[a.Name] = true
	}
	for _, line := range p.requirements() {
		req, message, _ := parseRequirement(line)
		if message != "" || !slices.Contains(p.NoBuildIsolation, req.Name) {
			continue
		}
		if seen[req.Name] = true; req.URL == "" {
			out = append(out, req.String())
		}
	}
	for _, name := range p.NoBuildIsolation {
		if !seen[name] {
			return nil, fmt.Errorf("build %s without isolation: the recipe does not ask for it by name: add it under "+
				"pip, or remove it from pip.no_build_isolation", name)
		}
	}
	return out, nil
}

// installed is the environment with packages of a lock, where a resolver looks. Its layers are made by steps.
func (p python) installed(on Stack, locked []Artifact) (llb.Stage, error) {
	trees := []llb.Stage{on.Tree("[env] environment", "env")}
	add := func(step llb.Exec) {
		step.Mounts = append(step.Mounts, p.envMount(on))
		trees = append(trees, on.ToolStage.Make(step, llb.Output{Path: work + "/out", On: llb.Scratch()}))
	}
	if wheels := ofKind(runtimePackages(locked), KindWheel); len(wheels) > 0 {
		step, err := p.installWheels(wheelGroup{name: "for builds", wheels: wheels})
		if err != nil {
			return llb.Stage{}, err
		}
		add(step)
	}
	for _, a := range ofKind(runtimePackages(locked), KindSdist) {
		built, err := p.buildWheel(on, a, locked)
		if err != nil {
			return llb.Stage{}, err
		}
		add(p.installDir(wheelGroup{name: a.Name, wheels: []Artifact{a}}, built))
	}
	return llb.Merge("[ray] what builds import", trees...), nil
}

// buildOpen builds a source distribution with all packages of the environment that are built before it.
func (p python) buildOpen(on Stack, sdist Artifact, locked []Artifact) (llb.Stage, error) {
	stage, err := p.buildStage(on, sdist, locked)
	if err != nil {
		return llb.Stage{}, err
	}
	title := fmt.Sprintf("[%s] build wheel of %s %s", sdist.Name, sdist.Name, sdist.Version)
	step := shell(title, preludeText+wheelBuildOpenText, pipEnv, p.interpreter(), sourceArgument(sdist), work+"/out")
	there := on.Tree("["+sdist.Name+"] what the build imports", "env", "ray")
	step.Mounts = []llb.Mount{
		{Path: work + "/in", Stage: llb.Artifact(llb.Blob{Digest: sdist.Digest(), Name: sdist.Filename()})},
		{Path: p.env.prefix(), Stage: there, From: p.env.prefix()},
	}
	return stage.Make(step, llb.Output{Path: work + "/out", On: llb.Scratch()}), nil
}

// knowStandIns puts wheels with metadata alone in the place of the files that only uv would not build: pip has to find
// wheels. back are the files, by the names of these wheels.
func (r *Resolver) knowStandIns(own []Artifact, byURL []Requirement) (out []Artifact, back map[string]Artifact,
	err error) {
	back = map[string]Artifact{}
	for _, a := range own {
		text, ok := r.told[a.SHA256]
		if !ok {
			out = append(out, a)
			continue
		}
		name, data, err := standIn(&a, text, byURL)
		if err != nil {
			return nil, nil, err
		}
		d := digest.FromBytes(data)
		r.in.Sources.Know(nil, []LocalFile{{Digest: d, Name: name, Size: int64(len(data)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}})
		out = append(out, Artifact{Kind: KindWheel, Name: a.Name, Version: a.Version, Origin: originLocal, Path: name,
			SHA256: d.Encoded(), Size: int64(len(data))})
		back[name] = a
	}
	return out, back, nil
}

// settleOpen puts the files back into an answer.
func settleOpen(artifacts []Artifact, back map[string]Artifact) []Artifact {
	for i, a := range artifacts {
		if file, ok := back[a.Filename()]; ok {
			artifacts[i] = file
		}
	}
	return artifacts
}
