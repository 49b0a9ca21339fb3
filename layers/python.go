package layers

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// python is Ray and every other Python package. pip resolves them together, and
// they are installed as several layers, so that an upgrade of Ray moves Ray.
type python struct {
	Ray
	Pip
	required []Requirement // of the requirements files
	lock     *PythonLock   // of another tool; nil: none, or it is not here
	envPip   []string      // of environment.yml
	pins     []string      // for known breakages
	env      env
	apt      Apt // of the recipe, for builds of source distributions
	dir      string
	rules    LayerRules
	left     []string // names of requirements that are left out
}

func (python) Name() string    { return "ray" }
func (python) Needs() []string { return []string{"env"} }

func (p python) Resolve(ctx context.Context, r *Resolver) ([]Artifact, error) {
	return resolvePython(ctx, r, p)
}

func (p python) Apply(on Stack, locked []Artifact) (Stack, error) {
	built := map[string]llb.Stage{}
	for _, a := range ofKind(locked, KindSdist) {
		if a.For[forIsolation] != "" {
			continue
		}
		stage, err := p.buildWheel(on, a, locked)
		if err != nil {
			return on, err
		}
		built[a.Filename()] = stage
	}
	compiler := compiler(on, locked)
	for _, g := range builtLast(wheelGroups(runtimePackages(locked), p.rules)) {
		if a := g.wheels[0]; a.For[forIsolation] != "" {
			stage, err := p.buildOpen(on, a, locked)
			if err != nil {
				return on, err
			}
			built[a.Filename()] = stage
		}
		if g.wheels[0].Kind == KindWheel && converts(compiler.Version) {
			on = p.addWheels(on, "ray", g, compiler)
			continue
		}
		var step llb.Exec
		var err error
		if g.wheels[0].Kind == KindSdist {
			step = p.installDir(g, built[g.wheels[0].Filename()])
		} else if step, err = p.installWheels(g); err != nil {
			return on, err
		}
		step.Mounts = append(step.Mounts, p.envMount(on))
		made := on.ToolStage.Make(step, llb.Output{Path: work + "/out", On: llb.Scratch()})
		on = on.Add("ray", g.name, step.Title, made)
	}
	return on, nil
}

func (p python) interpreter() string { return p.env.prefix() + "/bin/python" }

// envMount is the environment as a step sees it: read-only, and in the step's
// key by content, so that an environment made anew of the same bytes runs nothing.
// Builds have what conda made, whole: pip itself may be what is replaced.
func (p python) envMount(on Stack) llb.Mount {
	if on.whole != nil {
		return llb.Mount{Path: p.env.prefix(), Stage: *on.whole, From: p.env.prefix()}
	}
	return llb.Mount{Path: p.env.prefix(), Stage: on.Tree("[env] environment", "env"), From: p.env.prefix()}
}

// installWheels is the step that installs a group of wheels of the lock.
func (p python) installWheels(g wheelGroup) (llb.Exec, error) {
	dir, err := artifactDir(g.vertex("collect wheels"), g.wheels)
	if err != nil {
		return llb.Exec{}, err
	}
	return p.installDir(g, dir), nil
}

// installDir is the step that installs every wheel of a directory.
func (p python) installDir(g wheelGroup, wheels llb.Stage) llb.Exec {
	step := shell(g.vertex("install "+g.what()), preludeText+wheelInstallText,
		map[string]string{"PROGRAM": wheelInstallProgram},
		p.interpreter(), work+"/wheels", work+"/out")
	step.Mounts = []llb.Mount{{Path: work + "/wheels", Stage: wheels}}
	return step
}

// buildWheel builds a source distribution, in a step of its own, with what its
// build asks for and nothing else.
func (p python) buildWheel(on Stack, sdist Artifact, locked []Artifact) (llb.Stage, error) {
	var needs []Artifact
	for _, a := range locked {
		if slices.Contains(strings.Fields(a.For["build"]), sdist.Name) {
			needs = append(needs, a)
		}
	}
	dir, err := artifactDir("["+sdist.Name+"] collect what the build needs", needs)
	if err != nil {
		return llb.Stage{}, err
	}
	stage, err := p.buildStage(on, sdist, locked)
	if err != nil {
		return llb.Stage{}, err
	}
	title := fmt.Sprintf("[%s] build wheel of %s %s", sdist.Name, sdist.Name, sdist.Version)
	step := shell(title, preludeText+wheelBuildText, pipEnv,
		p.interpreter(), sourceArgument(sdist), work+"/wheels", work+"/out")
	step.Mounts = []llb.Mount{
		{Path: work + "/wheels", Stage: dir},
		{Path: work + "/in", Stage: llb.Artifact(llb.Blob{Digest: sdist.Digest(), Name: sdist.Filename()})},
		p.envMount(on),
	}
	return stage.Make(step, llb.Output{Path: work + "/out", On: llb.Scratch()}), nil
}

// buildStage is what a source distribution is built on: with a compiler, if there is something to compile.
func (p python) buildStage(on Stack, sdist Artifact, locked []Artifact) (llb.Stage, error) {
	debs := ofKind(locked, KindDeb)
	if sdist.For["native"] == "" || len(debs) == 0 {
		return on.ToolStage, nil
	}
	step, err := aptInstall("["+sdist.Name+"] install a compiler", debs, p.compiler())
	if err != nil {
		return llb.Stage{}, err
	}
	return on.ToolStage.Run(step), nil
}

// sourceArgument is a source distribution as pip is told to build it.
func sourceArgument(sdist Artifact) string {
	source := work + "/in/" + sdist.Filename()
	if sub := sdist.For[forSubdirectory]; sub != "" {
		source = "file://" + source + "#subdirectory=" + sub
	}
	return source
}

// builtLast moves what is built with the other packages behind them.
func builtLast(groups []wheelGroup) []wheelGroup {
	var first, last []wheelGroup
	for _, g := range groups {
		if g.wheels[0].For[forIsolation] != "" {
			last = append(last, g)
		} else {
			first = append(first, g)
		}
	}
	return append(first, last...)
}

// compiler is what builds of sources ask of apt by name. The recipe's own packages that come along have its answers.
func (p python) compiler() Apt { return Apt{Packages: compilerPackages, Debconf: p.apt.Debconf} }

// compilerPackages are what a source distribution with C or C++ in it takes.
var compilerPackages = []string{"g++", "gcc", "libc6-dev", "make"}

// pipEnv keeps pip to what it is told.
var pipEnv = map[string]string{"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}

// runtimePackages are what the image holds, without what only builds need.
func runtimePackages(locked []Artifact) []Artifact {
	var out []Artifact
	for _, a := range ofKind(locked, KindWheel, KindSdist) {
		if a.For["build"] == "" || a.For["runtime"] != "" {
			out = append(out, a)
		}
	}
	return out
}

// wheelFile takes a wheel's file name apart (PEP 427); ok is false where it is none.
func wheelFile(name string) (dist, version string, ok bool) {
	parts := strings.Split(strings.TrimSuffix(path.Base(name), ".whl"), "-")
	if !strings.HasSuffix(name, ".whl") || len(parts) < 5 {
		return "", "", false
	}
	return NormalName(parts[0]), parts[1], true
}
