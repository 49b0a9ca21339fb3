package layers

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// miniconda runs a Miniconda or Miniforge installer on the tool stage.
type miniconda struct{ Miniconda }

func (miniconda) Name() string    { return "miniconda" }
func (miniconda) Needs() []string { return nil }

func (m miniconda) Resolve(ctx context.Context, r *Resolver) ([]Artifact, error) {
	return resolveInstaller(ctx, r, m.Miniconda)
}

func (m miniconda) Apply(on Stack, locked []Artifact) (Stack, error) {
	installers := ofKind(locked, KindInstaller)
	if len(installers) != 1 {
		return on, fmt.Errorf("apply layer miniconda: the lock has %d installers, want 1; run raybuild lock "+
			"--update miniconda", len(installers))
	}
	installer := installers[0]
	title := fmt.Sprintf("[miniconda] install %s %s", m.Distribution, installer.Version)
	step := shell(title, preludeText+historyText+minicondaText, map[string]string{"CONDA_REGISTER_ENVS": "false"},
		work+"/in/"+installer.Filename(), condaPrefix)
	step.Mounts = []llb.Mount{{Path: work + "/in",
		Stage: llb.Artifact(llb.Blob{Digest: installer.Digest(), Name: installer.Filename()})}}
	// The installer refuses a prefix that is there, so the output is what lies above.
	above := frame("miniconda", path.Dir(condaPrefix))
	made := on.ToolStage.Make(step, llb.Output{Path: path.Dir(condaPrefix), On: above, From: path.Dir(condaPrefix)})
	return on.Add("miniconda", "miniconda", title, llb.Diff("[miniconda] layer", above, made)), nil
}

// env is the conda environment, created offline from locked packages.
type env struct {
	Env
	file   *EnvFile
	accept bool     // the user accepts the terms of Anaconda's channels
	pins   []string // specs that the recipe's Ray needs beside the recipe's own
}

func (env) Name() string    { return "env" }
func (env) Needs() []string { return []string{"miniconda"} }

func (e env) prefix() string { return condaPrefix + "/envs/" + e.Env.Name }

func (e env) Resolve(ctx context.Context, r *Resolver) ([]Artifact, error) {
	artifacts, err := resolveEnv(ctx, r, e)
	if err != nil {
		return nil, err
	}
	// What is in the packages tells which variables they want, and later which Python packages they bring.
	r.withSchemes(artifacts)
	r.know(artifacts)
	_, err = r.condaDists(ctx, artifacts)
	return artifacts, err
}

func (e env) Apply(on Stack, locked []Artifact) (Stack, error) {
	packages := ofKind(locked, KindConda)
	python := condaPython(packages)
	if python == "" {
		return on, fmt.Errorf("apply layer env: the lock has no python for environment %q; run raybuild lock "+
			"--update env", e.Env.Name)
	}
	on.python = pythonOf(packages)
	dir, err := artifactDir("[env] collect packages", packages)
	if err != nil {
		return on, err
	}
	create := func(title string, replaced []Artifact) llb.Stage {
		step := e.createStep(on, title, dir, packages, replaced)
		base := frame("env", e.prefix())
		return llb.Diff("[env] layer", base, on.ToolStage.Make(step, llb.Output{Path: e.prefix(), On: base,
			From: e.prefix()}))
	}
	title := fmt.Sprintf("[env] create %s with python %s", e.Env.Name, python)
	made := create(title, nil)
	if len(on.replaced) > 0 {
		whole := made
		on.whole = &whole
		title += ", without " + strings.Join(namesOf(on.replaced), ", ")
		made = create(title, on.replaced)
	}
	on = on.Add("env", "env", title, made)
	on.activates = activates(packages)

	title = "[env] activate " + e.Env.Name + " in login shells"
	return on.Add("activate", "activate", title, llb.Scratch().Files(title, llb.File{
		Path: "/etc/profile.d/raybuild.sh", Data: []byte(e.profile(on.activates)),
	})), nil
}

// createStep is the step that makes the environment of packages that lie in dir, without the files of those that are
// replaced.
func (e env) createStep(on Stack, title string, dir llb.Stage, packages, replaced []Artifact) llb.Exec {
	text, more := e.createText(packages, replaced)
	list := llb.Scratch().Files("[env] list packages",
		llb.File{Path: "/urls", Data: nil},
		llb.File{Path: "/urls.txt", Data: []byte(urlList(packages))})
	explicit := llb.Scratch().Files("[env] list specs",
		llb.File{Path: "/explicit.txt", Data: []byte(explicitSpecs(packages))})

	step := shell(title, preludeText+historyText+text, map[string]string{
		// conda copies archives from the second directory to the first and
		// notes that path: it is the one that every conda has.
		"CONDA_PKGS_DIRS":     condaPrefix + "/pkgs," + work + "/packages",
		"CONDA_REGISTER_ENVS": "false",
		"CONDA_CHANNELS":      "conda-forge", // unused offline; silences a warning about defaults
	}, append([]string{condaPrefix, e.prefix(), work + "/in/explicit.txt"}, more...)...)
	step.Mounts = []llb.Mount{
		{Path: condaPrefix, Stage: on.Tree("[env] conda", "miniconda"), From: condaPrefix, Write: true},
		{Path: condaPrefix + "/pkgs", Stage: frame("env", "/pkgs"), From: "/pkgs", Write: true},
		{Path: work + "/packages", Stage: llb.Merge("[env] packages", dir, list)},
		{Path: work + "/in", Stage: explicit},
	}
	return step
}

// profile is what a login shell needs on top of the image's variables: Debian's
// /etc/profile sets PATH anew. With more, it reads the variables that packages of the environment want.
func (e env) profile(more bool) string {
	text := fmt.Sprintf(`# Written by raybuild: the environment that Ray lives in is active in every shell.
PATH=%[1]s/bin:%[2]s/condabin:$PATH
export PATH CONDA_PREFIX=%[1]s CONDA_DEFAULT_ENV=%[3]s
if [ -e %[2]s/etc/profile.d/conda.sh ]; then
	. %[2]s/etc/profile.d/conda.sh
fi
`, e.prefix(), condaPrefix, e.Env.Name)
	if more {
		text += fmt.Sprintf("if [ -e %[1]s/etc/raybuild/activate.sh ]; then\n\t. %[1]s/etc/raybuild/activate.sh\nfi\n",
			e.prefix())
	}
	return text
}

// variables are those of an activated environment.
func (e env) variables(path string) map[string]string {
	return map[string]string{
		"CONDA_DEFAULT_ENV": e.Env.Name,
		"CONDA_PREFIX":      e.prefix(),
		"PATH":              e.prefix() + "/bin:" + condaPrefix + "/condabin:" + path,
	}
}

// urlList is the list by which conda finds archives in a package directory: one
// canonical URL a line.
func urlList(packages []Artifact) string {
	lines := make([]string, len(packages))
	for i, p := range packages {
		lines[i] = p.URL() + "\n"
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// explicitSpecs is an explicit file. conda takes a cached archive for a URL
// with an md5, and only then; digests are BuildKit's to check, which it does
// when it takes the artifact.
func explicitSpecs(packages []Artifact) string {
	sorted := slices.SortedFunc(slices.Values(packages),
		func(a, b Artifact) int { return cmp.Compare(a.URL(), b.URL()) })
	text := "@EXPLICIT\n"
	for _, p := range sorted {
		text += p.URL()
		if p.MD5 != "" {
			text += "#" + p.MD5
		}
		text += "\n"
	}
	return text
}

// condaPython is the version of python among packages, or "".
func condaPython(packages []Artifact) string { return pythonOf(packages).Version }
