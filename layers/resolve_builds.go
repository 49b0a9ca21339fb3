package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// withBuildNeeds adds what the builds of source distributions need: the wheels
// that they ask for, and a compiler where there is something to compile.
func (r *Resolver) withBuildNeeds(ctx context.Context, p python, artifacts []Artifact) ([]Artifact, error) {
	sdists := ofKind(artifacts, KindSdist)
	if len(sdists) == 0 {
		return artifacts, nil
	}
	r.know(sdists)
	dir, err := artifactDir("[ray] collect sources", sdists)
	if err != nil {
		return nil, err
	}
	vars, err := subdirectories(sdists)
	if err != nil {
		return nil, err
	}
	out, err := r.Run(ctx, r.stack.ToolStage, "[ray] look into sources", buildNeedsText, vars,
		[]llb.Mount{{Path: work + "/sources", Stage: dir}, p.envMount(r.stack)}, p.interpreter(), work+"/sources")
	if err != nil {
		return nil, err
	}
	needs := map[string]buildSystem{}
	if err := json.Unmarshal(out["needs.json"], &needs); err != nil {
		return nil, fmt.Errorf("read what the sources need: %w", err)
	}
	compiler := false
	for _, file := range slices.Sorted(maps.Keys(needs)) {
		at := slices.IndexFunc(artifacts, func(a Artifact) bool { return a.Filename() == file })
		if at < 0 {
			return nil, fmt.Errorf("read what the sources need: there are none of %q", file)
		}
		if needs[file].Native {
			artifacts[at].For = withFact(artifacts[at].For, "native", "yes")
			compiler = true
		}
		if artifacts[at].For[forIsolation] != "" {
			continue // it finds what it needs in the environment
		}
		wheels, err := r.buildWheels(ctx, p, artifacts[at], needs[file])
		if err != nil {
			return nil, err
		}
		artifacts = addNeeds(artifacts, wheels, artifacts[at].Name)
	}
	if compiler {
		_, debs, err := r.buildRoot(ctx, p)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, debs...)
	}
	return artifacts, nil
}

// subdirectories are the variables that tell a script where projects are in their archives.
func subdirectories(sdists []Artifact) (map[string]string, error) {
	below := map[string]string{}
	for _, a := range sdists {
		if sub := a.For[forSubdirectory]; sub != "" {
			below[a.Filename()] = sub
		}
	}
	text, err := json.Marshal(below)
	if err != nil {
		return nil, fmt.Errorf("write where projects are in archives: %w", err)
	}
	return withFact(pipEnv, "SUBDIRECTORIES", string(text)), nil
}

// buildRoot is the tool stage with a compiler and the recipe's apt packages.
type buildRoot struct {
	stage llb.Stage
	debs  []Artifact
}

// buildRoot is what source distributions that compile are built on, and what is installed there. The tool stage is the
// base of the lock's day, so the recipe's apt packages are resolved for it by themselves.
func (r *Resolver) buildRoot(ctx context.Context, p python) (llb.Stage, []Artifact, error) {
	if r.builds != nil {
		return r.builds.stage, r.builds.debs, nil
	}
	debs, err := resolveApt(ctx, r, r.stack.ToolStage, Apt{Repositories: p.apt.Repositories,
		Packages: sorted(slices.Concat(compilerPackages, p.apt.Packages))})
	if err != nil {
		return llb.Stage{}, nil, fmt.Errorf("resolve a compiler and the recipe's apt packages for the tool stage: %w",
			err)
	}
	r.know(debs)
	root := &buildRoot{r.stack.ToolStage, debs}
	if len(debs) > 0 {
		step, err := aptInstall("[ray] install what builds of sources need", debs, p.compiler())
		if err != nil {
			return llb.Stage{}, nil, err
		}
		root.stage = root.stage.Run(step)
	}
	r.builds = root
	return root.stage, root.debs, nil
}

// builtWith are the inputs of a locked layer whose source distributions are built with apt packages of the recipe.
func builtWith(inputs digest.Digest, a Apt) digest.Digest {
	return digestOf(struct {
		Inputs digest.Digest
		Apt    Apt
	}{inputs, a})
}

// buildsWith tells whether a layer of the lock is built with apt packages of the recipe.
func buildsWith(layer string, artifacts []Artifact, a Apt) bool {
	return layer == "ray" && len(a.Packages) > 0 && len(ofKind(artifacts, KindDeb)) > 0
}

// fits tells whether a layer of a lock is made of these inputs.
func (l LockLayer) fits(layer string, inputs digest.Digest, a Apt) bool {
	return l.Name == layer && (l.Inputs == inputs ||
		buildsWith(layer, l.Artifacts, a) && l.Inputs == builtWith(inputs, a))
}

// buildRequirements are the requirements of a package's own build, in their normal form. They are the package's text,
// and go into a file of pip's, where a line may be an option.
func buildRequirements(texts []string) ([]string, error) {
	var out []string
	for _, text := range texts {
		req, message, fix := parseRequirement(text)
		if message == "" && req.URL != "" {
			message, fix = "by URL", "only the recipe names URLs"
		}
		if message != "" {
			return nil, fmt.Errorf("it asks for %s: %s; build a wheel of the package and name that under pip.wheels",
				message, fix)
		}
		out = append(out, req.String())
	}
	return out, nil
}

// withFact is a copy of the facts with one more.
func withFact(facts map[string]string, name, value string) map[string]string {
	out := maps.Clone(facts)
	if out == nil {
		out = map[string]string{}
	}
	out[name] = value
	return out
}

// addNeeds notes that the build of a package takes wheels.
func addNeeds(artifacts, wheels []Artifact, builds string) []Artifact {
	for _, w := range wheels {
		at := slices.IndexFunc(artifacts, func(a Artifact) bool { return a.SHA256 == w.SHA256 })
		if at < 0 {
			w.For = withFact(w.For, "build", builds)
			artifacts = append(artifacts, w)
			continue
		}
		facts := maps.Clone(artifacts[at].For)
		if facts == nil {
			facts = map[string]string{}
		}
		if facts["build"] == "" {
			facts["runtime"] = "yes"
		}
		facts["build"] = strings.TrimSpace(facts["build"] + " " + builds)
		artifacts[at].For = facts
	}
	return artifacts
}
