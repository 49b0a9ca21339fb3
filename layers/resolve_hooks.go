package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// buildSystem is what a source distribution says of its build (PEP 518), and whether there is something to compile.
type buildSystem struct {
	Requires []string
	Native   bool
	Backend  string
	Path     []string // of a backend of the project's own
}

// buildWheels are the wheels that the build of a source distribution asks for: those of pyproject.toml, and those that
// its backend names when it is asked (PEP 517, get_requires_for_build_wheel).
func (r *Resolver) buildWheels(ctx context.Context, p python, sdist Artifact, s buildSystem) ([]Artifact, error) {
	listed, err := buildRequirements(s.Requires)
	if err != nil {
		return nil, fmt.Errorf("read what the build of %q needs: %w", sdist.Filename(), err)
	}
	ask := func(requirements []string) ([]Artifact, error) {
		wheels, _, err := r.askPip(ctx, p, pipQuestion{
			layer: "ray", requirements: requirements, constraints: p.pins, options: []string{"--ignore-installed"},
		})
		if err != nil {
			return nil, fmt.Errorf("resolve the build of %q: %w", sdist.Filename(), err)
		}
		return wheels, nil
	}
	wheels, err := ask(listed)
	if err != nil {
		return nil, err
	}
	texts, err := r.hookRequires(ctx, p, sdist, s, wheels)
	if err != nil {
		return nil, err
	}
	more, err := buildRequirements(texts)
	if err != nil {
		return nil, fmt.Errorf("read what the build of %q needs: %w", sdist.Filename(), err)
	}
	more = slices.DeleteFunc(more, func(line string) bool { // any version of it will do, and one is there
		return slices.Contains(listed, line) || has(wheels, line)
	})
	if len(more) == 0 {
		return wheels, nil
	}
	return ask(slices.Concat(listed, more))
}

// hookRequires asks the build backend of a source distribution, in the sandbox, with what pyproject.toml lists.
func (r *Resolver) hookRequires(ctx context.Context, p python, sdist Artifact, s buildSystem,
	wheels []Artifact) ([]string, error) {
	r.know(wheels)
	there, err := artifactDir("["+sdist.Name+"] collect what the build needs", ofKind(wheels, KindWheel))
	if err != nil {
		return nil, err
	}
	backend, err := json.Marshal(map[string]any{"name": s.Backend, "path": append([]string{}, s.Path...),
		"below": sdist.For[forSubdirectory]})
	if err != nil {
		return nil, fmt.Errorf("describe the build of %q: %w", sdist.Filename(), err)
	}
	root := r.stack.ToolStage
	if s.Native || len(p.apt.Packages) > 0 {
		if root, _, err = r.buildRoot(ctx, p); err != nil {
			return nil, err
		}
	}
	out, err := r.Run(ctx, root, "["+sdist.Name+"] ask what the build needs", buildHooksText,
		withFact(pipEnv, "BACKEND", string(backend)),
		[]llb.Mount{{Path: work + "/wheels", Stage: there},
			{Path: work + "/in", Stage: llb.Artifact(llb.Blob{Digest: sdist.Digest(), Name: sdist.Filename()})},
			p.envMount(r.stack)},
		p.interpreter(), work+"/in/"+sdist.Filename(), work+"/wheels")
	if err != nil {
		return nil, err
	}
	if len(out["failed"]) > 0 {
		return nil, hookError(sdist, string(out["log"]))
	}
	var requires []string
	if err := json.Unmarshal(out["requires.json"], &requires); err != nil {
		return nil, fmt.Errorf("read what the build of %q needs: %w", sdist.Filename(), err)
	}
	return requires, nil
}

// hookError says how a backend ended that was asked what it needs.
func hookError(sdist Artifact, log string) error {
	var lines []string
	for line := range strings.Lines(log) {
		if line = strings.TrimRight(line, " \r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	lines = lines[max(0, len(lines)-reasonLines):]
	return fmt.Errorf("the sources of %s %s cannot be built:\n  %s%s", sdist.Name, sdist.Version,
		strings.Join(lines, "\n  "), whatToDo(afterBuild, log))
}
