package layers

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/strictyaml"
	"github.com/raybuild/raybuild/llb"
)

// Smoke says how an image is tested when it has been built. Its zero value is the default: it imports
// Ray, its extras and the modules of the recipe's packages.
type Smoke struct {
	// Off leaves the test out.
	Off bool
	// Command is a shell script that runs in the image instead of the imports.
	Command string
}

// boolWords stand for true and false elsewhere, and are no commands.
func boolWords() []string { return []string{"true", "false", "yes", "no", "on", "off"} }

// smokeValue reads the key: true, false, or a command.
func smokeValue(s *Smoke) strictyaml.Value {
	command := strictyaml.String(&s.Command, grammarScript())
	shape := func() strictyaml.Shape {
		text := command.Shape()
		text.Grammar.Except = boolWords()
		text.Grammar.Check = func(string) (string, string) { return "a number is no command", "quote it" }
		return strictyaml.Shape{Either: []strictyaml.Shape{{Kind: strictyaml.Bool}, text}}
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		switch n.Kind {
		case strictyaml.Bool:
			s.Off = !strings.EqualFold(n.Text, "true")
		case strictyaml.Text:
			if slices.Contains(boolWords(), strings.ToLower(strings.TrimSpace(n.Text))) {
				t.AddAt(n, key, quoteShort(n.Text)+" is text, and would be run as a command",
					"write true or false, without quotes")
				return
			}
			t.Read(n, key, command)
		default:
			t.WrongKind(n, key, "true, false, or a command")
		}
	})
}

// SmokeTest is the test of an image of one platform. It is not part of the image or of its digests.
type SmokeTest struct {
	// Platform of the image.
	Platform llb.Platform
	// Digest is the digest of the test and of the layers that it tests. If an image has passed a test
	// with this digest, it would pass this test too. If the test only imports modules, the digest does
	// not have the base's own files and the Debian packages: new ones take no module away. See PassedBy.
	Digest digest.Digest
	// Imports tells that the test imports modules. If not, it runs a command of the recipe.
	Imports bool

	exec   llb.Exec
	image  llb.Image
	whole  *llb.Image // as made of all layers' own steps; where the image is put on another one
	inputs PlatformRecord
	with   []string      // Debian packages that it has passed with; nil: it has not
	below  digest.Digest // the test that an image passed to which this one only adds packages; "": there is none
}

const (
	// SmokeLayer is the name of the test's layer in progress and results.
	SmokeLayer = "smoke"
	// The text of a program comes by a variable, for builders print the command of a step that fails.
	smokeRun     = `program=$RAYBUILD_SMOKE; unset RAYBUILD_SMOKE; exec "$1" -c "$program" "$2"`
	smokeCommand = `script=$RAYBUILD_SMOKE; unset RAYBUILD_SMOKE; eval "$script"`
)

// SmokeTests gives one test for each image of the graph. record is the graph's own.
func (g *Graph) SmokeTests(how Smoke, record *BuildRecord) ([]SmokeTest, error) {
	var all []SmokeTest
	for i, image := range g.Images {
		made := g.made[i]
		at := slices.IndexFunc(record.Platforms, func(p PlatformRecord) bool { return p.Platform == made.name })
		if at < 0 {
			return nil, fmt.Errorf("test image of %q: its record lacks the platform", made.name)
		}
		t := SmokeTest{Platform: image.Platform, Imports: how.Command == "", inputs: record.Platforms[at]}
		var err error
		if t.exec, err = g.smokeExec(how, image, made); err != nil {
			return nil, err
		}
		t.Digest = t.digest(made.locked.Base)
		t.image = image
		if g.onto != nil {
			t.whole = &g.whole[i]
		}
		all = append(all, t)
	}
	return all, nil
}

// runIn runs a command in an image's filesystem. The first layer of wheels and all that follow are laid over the
// others: these seldom change, so a builder that has to merge them does so once.
func runIn(i llb.Image, e llb.Exec) llb.Stage {
	below := []llb.Stage{i.Base}
	for _, l := range i.Layers {
		if _, given := l.Stage.Given(); given || len(e.Over) > 0 {
			e.Over = append(e.Over, l.Stage)
		} else {
			below = append(below, l.Stage)
		}
	}
	return llb.Merge("["+SmokeLayer+"] image", below...).Run(e)
}

// smokeExec is the test's command: it runs as the image is started, by its user and with its variables.
func (g *Graph) smokeExec(how Smoke, image llb.Image, made platformMade) (llb.Exec, error) {
	vars := map[string]string{}
	for _, v := range image.Config.Env {
		name, value := cutVariable(v)
		vars[name] = value
	}
	e := llb.Exec{Env: vars, User: image.Config.User, Dir: "/"}
	if how.Command != "" {
		e.Title, e.Dir = "["+SmokeLayer+"] run the recipe's command", image.Config.WorkingDir
		vars["RAYBUILD_SMOKE"] = how.Command
		e.Args = []string{"/bin/sh", "-euc", smokeCommand, "raybuild"}
		return e, nil
	}
	wanted := struct {
		Modules  []string `json:"modules"`
		Packages []string `json:"packages"`
	}{smokeModules(g.recipe.Ray.Extras), smokePackages(g.recipe, made.locked)}
	arg, err := json.Marshal(wanted)
	if err != nil {
		return e, fmt.Errorf("write what is tested: %w", err)
	}
	vars["RAYBUILD_SMOKE"] = smokeProgram
	vars["PYTHONDONTWRITEBYTECODE"] = "1"
	e.Title = "[" + SmokeLayer + "] import " + smokeWords(g.recipe.Ray.Extras, wanted.Packages)
	e.Args = []string{"/bin/sh", "-euc", smokeRun, "raybuild",
		python{env: env{Env: g.recipe.Env}}.interpreter(), string(arg)}
	return e, nil
}

// smokeModules are what Ray and its extras let a program import: Ray's documentation, "Installing
// Ray", and the extras in its setup.py. Those that a version has not are left out where they are
// imported.
func smokeModules(extras []string) []string {
	known := map[string][]string{
		"default": {"ray.job_submission"}, "tune": {"ray.tune"}, "rllib": {"ray.rllib"}, "serve": {"ray.serve"},
		"serve-grpc": {"ray.serve"},
		"data":       {"ray.data"}, "train": {"ray.train"}, "client": {"ray.util.client"},
		"air": {"ray.data", "ray.train", "ray.tune", "ray.serve"}, "llm": {"ray.data", "ray.serve"},
		"all": {"ray.data", "ray.train", "ray.tune", "ray.serve", "ray.rllib", "ray.util.client", "ray.job_submission"},
	}
	known["all-cpp"] = known["all"]
	out := []string{"ray.scripts.scripts"} // the command ray
	for _, extra := range extras {
		for _, m := range known[extra] {
			if !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	return out
}

// smokePackages are the Python packages that the recipe names, by normalised name, each once. What
// a marker leaves out is not in the lock.
func smokePackages(r *Recipe, locked *LockPlatform) []string {
	var named []Requirement
	texts := func(list []string) {
		for _, text := range list {
			if req, message, _ := parseRequirement(text); message == "" {
				named = append(named, req)
			}
		}
	}
	texts(r.Pip.Packages)
	named = append(named, r.Required...)
	if r.EnvFile != nil {
		texts(r.EnvFile.Pip)
	}
	have := map[string]bool{}
	for _, layer := range locked.pythonLayers() {
		for _, a := range runtimePackages(layer.Artifacts) {
			if have[NormalName(a.Name)] = true; a.own() {
				named = append(named, Requirement{Name: NormalName(a.Name)})
			}
		}
	}
	for _, list := range r.Pip.Added {
		texts(list)
	}
	out := []string{}
	for _, req := range named {
		if have[req.Name] && req.Name != "ray" && !slices.Contains(out, req.Name) {
			out = append(out, req.Name)
		}
	}
	return out
}

// smokeWords name what is imported, for a title of one line.
func smokeWords(extras, packages []string) string {
	words := append([]string{"ray"}, packages...)
	if len(extras) > 0 {
		words[0] = "ray[" + strings.Join(extras, ",") + "]"
	}
	const most = 6
	if n := len(words) - most; n > 0 {
		words = append(words[:most:most], fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}

// digest is that of the test and what it tests: for imports the layers that modules come from, for a command all.
func (t SmokeTest) digest(base LockImage) digest.Digest {
	type layer struct {
		Name string
		Key  digest.Digest
	}
	var tested []layer
	for _, l := range t.inputs.Layers {
		if !t.Imports || hasModules(l) {
			tested = append(tested, layer{l.Name, l.Key})
		}
	}
	root := []string{repositoryOf(base.Reference), base.ID, base.Release} // a patched base is another tag, or the same
	return digestOf([]any{root, t.exec.Args, t.exec.Env, t.exec.User, t.exec.Dir, tested})
}

// repositoryOf is an image's reference without tag and digest.
func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
	return ref
}

// hasModules tells whether Python modules may come from a layer: the environment, Python packages, and steps.
func hasModules(l LayerRecord) bool {
	switch l.Layer {
	case "env":
		return l.Name == "env"
	case "ray":
		return true
	}
	return !slices.Contains(builtinLayers, l.Layer) && l.Layer != "base"
}

// PassedBy tells whether an image with the record has passed the test.
func (t *SmokeTest) PassedBy(record *BuildRecord) bool {
	if record == nil {
		return false
	}
	at := slices.IndexFunc(record.Platforms, func(p PlatformRecord) bool { return p.Platform == t.inputs.Platform })
	return at >= 0 && record.Platforms[at].Smoke == t.Digest && t.PassedWith(record.Platforms[at].SmokeWith)
}

// PassedWith tells whether the test counts as passed, if a test with its digest has passed and the
// image then had these Debian packages (their names, see With). It does not if one of them is no
// longer there: a module may need its libraries.
func (t *SmokeTest) PassedWith(debs []string) bool {
	now := debsOf(t.inputs)
	for _, name := range debs {
		if !slices.Contains(now, name) {
			return false
		}
	}
	t.with = append([]string{}, debs...)
	return true
}

// With gives the names of the Debian packages that the image had when the test passed, or has now.
func (t *SmokeTest) With() []string {
	if t.with != nil {
		return t.with
	}
	return debsOf(t.inputs)
}

// debsOf are the names of the Debian packages that were installed, sorted.
func debsOf(p PlatformRecord) []string {
	out := []string{}
	for _, l := range p.Layers {
		if l.Layer != "apt" {
			continue
		}
		for name := range l.Values {
			if words := strings.Fields(name); len(words) > 1 && words[0] == KindDeb {
				out = append(out, words[1])
			}
		}
	}
	return sorted(out)
}

// Passed returns the record of an image that has passed these tests, and no others. A test that
// OnlyAdds accepted counts as the one below.
func (i *BuildRecord) Passed(tests ...SmokeTest) *BuildRecord {
	out := *i
	out.Platforms = slices.Clone(i.Platforms)
	for _, t := range tests {
		for n, p := range out.Platforms {
			if p.Platform == t.inputs.Platform {
				out.Platforms[n].Smoke, out.Platforms[n].SmokeWith = cmp.Or(t.below, t.Digest), t.With()
			}
		}
	}
	return &out
}

// Check is the test for a builder that makes the whole image or has made it. anew runs the test even
// if it has passed before.
func (t SmokeTest) Check(anew bool) llb.Check {
	e := t.exec
	e.Fresh = anew
	c := llb.Check{Platform: t.Platform, Stage: runIn(t.image, e)}
	if t.whole != nil {
		c.Here = runIn(*t.whole, e)
	}
	return c
}

// CheckHere is the test for a builder that makes a part of the image. It runs only if the builder has
// the other parts too.
func (t SmokeTest) CheckHere(anew bool) llb.Check {
	c := t.Check(anew)
	return llb.Check{Platform: t.Platform, Here: c.Stage}
}

// CheckImage is the test of an image in a registry. ref has the digest of the platform's manifest.
func (t SmokeTest) CheckImage(ref string, anew bool) llb.Check {
	e := t.exec
	e.Fresh = anew
	return llb.Check{Platform: t.Platform, Stage: llb.From(ref).Run(e)}
}

// Explain returns what a failed check found, as a [SmokeError].
func (t SmokeTest) Explain(failed *llb.CheckError) error {
	e := &SmokeError{Platform: llb.FormatPlatform(t.Platform), Step: failed.Step}
	if !t.Imports {
		e.Command = true
		return e
	}
	var err error
	if e.Failures, err = parseSmokeReport(failed.Step.Output()); err != nil {
		return fmt.Errorf("test image: %w", errors.Join(failed.Step, err))
	}
	return e
}
