package layers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// resolveAdded asks the image's own pip which wheels the requirements need on
// top of what is there. What is there stays: pip sees it as installed, and is
// bound to its versions.
func resolveAdded(ctx context.Context, r *Resolver, a added) ([]Artifact, error) {
	var there []Artifact
	for _, l := range r.locked.pythonLayers() {
		there = append(there, runtimePackages(l.Artifacts)...)
	}
	if artifacts, err := r.addByUV(ctx, a, there); err == nil || ctx.Err() != nil {
		return artifacts, err
	}
	options, err := a.pipOptions(r.allow)
	if err != nil {
		return nil, err
	}
	ask := pipQuestion{
		layer: a.Name(), requirements: a.requirements, constraints: slices.Concat(a.pins, r.addedPins(a.Name())),
		options: append(options, "--only-binary=:all:"), installed: there,
	}
	// An extra of a package that is there is in its metadata, which the stub that
	// stands for it has not: pip reads that from the index then.
	for _, text := range a.requirements {
		if req, _, _ := parseRequirement(text); len(req.Extras) > 0 {
			ask.unstub(req.Name)
		}
	}
	for {
		artifacts, answer, err := r.askPip(ctx, a.python, ask)
		switch {
		case err != nil && answer.failed && len(ask.constraints) > len(a.pins) && answer.conflict != nil:
			ask.constraints = a.pins // what was added before may go where it is in the way
			continue
		case err != nil && answer.failed:
			return nil, r.cannotAdd(ctx, a, there, answer, err)
		case err != nil:
			return nil, err
		}
		if ask.unstub(withoutExtra(answer.text)...) {
			continue
		}
		return onlyNew(artifacts, there)
	}
}

// addByUV asks uv, which needs no builder. After any error pip is asked: it says best what is in the way.
func (r *Resolver) addByUV(ctx context.Context, a added, there []Artifact) ([]Artifact, error) {
	resolver, err := r.python(ctx, a.python)
	if err != nil {
		return nil, err
	}
	q, err := r.uvQuestion(ctx, a.python, a.requirements)
	if err != nil {
		return nil, err
	}
	q.Held = held(there, nil)
	for _, old := range runtimePackages(r.old.layer(a.Name())) {
		if !r.updates("pip", a.Name(), old.Name) {
			q.Held = append(q.Held, held([]Artifact{old}, nil)...)
		}
	}
	r.know(there)
	answer, err := r.askUV(ctx, resolver, q)
	if err != nil {
		return nil, err
	}
	artifacts, err := r.uvArtifacts(ctx, answer, nil, &lockedPackages{})
	if err != nil {
		return nil, err
	}
	return onlyNew(artifacts, there)
}

// addedPins are the versions that a layer of added packages had, if it is only resolved again.
func (r *Resolver) addedPins(layer string) []string {
	var out []string
	for _, a := range runtimePackages(r.old.layer(layer)) {
		if !r.updates("pip", layer, a.Name) {
			out = append(out, a.Name+"=="+a.Version)
		}
	}
	return out
}

// stubs are packages as pip finds them installed: by name and version, which is
// all that it needs of what stays.
func stubs(title string, packages []Artifact) llb.Stage {
	var files []llb.File
	for _, p := range packages {
		files = append(files, llb.File{
			Path: fmt.Sprintf("/%s-%s.dist-info/METADATA", strings.ReplaceAll(p.Name, "-", "_"), p.Version),
			Data: fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", p.Name, p.Version),
		})
	}
	return llb.Scratch().Files(title, files...)
}

// unstub lets pip read the packages from the index, in the version that is
// there. It tells whether that is new to the question.
func (q *pipQuestion) unstub(names ...string) bool {
	before := len(q.installed)
	var left []Artifact
	for _, a := range q.installed {
		if !slices.Contains(names, a.Name) || a.Origin == originLocal {
			left = append(left, a)
			continue
		}
		q.constraints = append(slices.Clone(q.constraints), a.Name+"=="+a.Version)
		if a.Kind == KindSdist {
			q.options = append(slices.Clone(q.options), "--no-binary="+a.Name)
		}
	}
	q.installed = left
	return len(left) < before
}

var noExtra = lazy(`(?m)WARNING: ([A-Za-z0-9._-]+) \S+ does not provide the extra`)

// withoutExtra are the packages of which pip says that they lack an extra.
func withoutExtra(text string) []string {
	var out []string
	for _, m := range noExtra().FindAllStringSubmatch(text, -1) {
		out = append(out, NormalName(m[1]))
	}
	return out
}

// onlyNew are the artifacts of packages that are not there yet.
func onlyNew(artifacts, there []Artifact) ([]Artifact, error) {
	var out []Artifact
	for _, a := range artifacts {
		i := slices.IndexFunc(there, func(t Artifact) bool { return t.Name == a.Name })
		switch {
		case i >= 0 && there[i].Version != a.Version:
			return nil, fmt.Errorf("pip would replace %s %s by %s, but the image's packages stay: name a version "+
				"that takes %[2]s", a.Name, there[i].Version, a.Version)
		case i >= 0:
		case a.Kind != KindWheel:
			return nil, noWheel(a.Name+" "+a.Version, "it has only a source distribution")
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

func noWheel(what, why string) error {
	return fmt.Errorf("there is no wheel of %s that fits: %s; name another version, or name it in the recipe, under "+
		"pip or as a wheel of your own under pip.wheels, and build: raybuild builds sources there", what, why)
}

var (
	dependsOn    = lazy(`(?m)^\s*(\S+ \S+) depends on (.+)$`)
	userAsked    = lazy(`(?m)^\s*The user requested ([^(\s].*)$`)
	constrained  = lazy(`(?m)^\s*The user requested \(constraint\) ([A-Za-z0-9._-]+)==(\S+)$`)
	noMatch      = lazy(`No matching distribution found for (\S+)`)
	otherPython  = lazy(`(?m)Ignored the following versions that require a different python version: (.+)$`)
	fromVersions = lazy(`\(from versions: ([^)]*)\)`)
)

// cannotAdd says why pip found nothing: which package that is there is in the
// way of which new one, or what there is none of.
func (r *Resolver) cannotAdd(ctx context.Context, a added, there []Artifact, answer pipAnswer, err error) error {
	if m := constrained().FindStringSubmatch(answer.text); m != nil {
		var want []string
		for _, d := range dependsOn().FindAllStringSubmatch(answer.text, -1) {
			if req, _, _ := parseRequirement(d[2]); req.Name == NormalName(m[1]) {
				want = append(want, d[1]+" depends on "+strings.TrimSpace(d[2]))
			}
		}
		for _, d := range userAsked().FindAllStringSubmatch(answer.text, -1) {
			want = append(want, "you ask for "+strings.TrimSpace(d[1]))
		}
		slices.Sort(want)
		return fmt.Errorf("%s, and the image has %s %s%s, which stays: name a version that takes it, or change %[2]s "+
			"in the recipe and build",
			shorten(slices.Compact(want), 200), m[1], m[2], whereFrom(there, NormalName(m[1])))
	}
	m := noMatch().FindStringSubmatch(answer.text)
	if m == nil {
		return err
	}
	req, _, _ := parseRequirement(m[1])
	if p := otherPython().FindStringSubmatch(answer.text); p != nil {
		return noWheel(m[1], "other versions want another Python: "+shorten(strings.Split(p[1], "; "), 200))
	}
	if v := fromVersions().FindStringSubmatch(answer.text); v != nil && v[1] != "none" {
		return noWheel(m[1], "there are "+shorten(strings.Split(v[1], ", "), 200)+" for "+r.name)
	}
	files, known := r.filesOf(ctx, a.python, req.Name)
	if !known {
		return fmt.Errorf("there is no package %q on the index: look at its name, or give its index under "+
			"pip.extra_indexes in the recipe and build", req.Name)
	}
	return noWheel(m[1], fmt.Sprintf("for %s and this Python the index has none of its files: %s", r.name,
		shorten(files, 200)))
}

// whereFrom tells which layer a package that is in the way came with.
func whereFrom(there []Artifact, name string) string {
	if slices.ContainsFunc(there, func(a Artifact) bool { return a.Name == name }) {
		return ""
	}
	return " from conda"
}

var pageFile = lazy(`>\s*([^<>\s]+\.(?:whl|tar\.gz|zip))\s*<`)

// filesOf are the newest files that the index has of a project; false where it has no such project,
// as far as can be told.
func (r *Resolver) filesOf(ctx context.Context, p python, project string) ([]string, bool) {
	page, ok := r.indexPage(ctx, p, project)
	if !ok {
		return nil, false
	}
	var files []string
	for _, m := range pageFile().FindAllSubmatch(page, -1) {
		files = append(files, string(m[1]))
	}
	slices.Reverse(files) // the newest are last
	return files, true
}

// indexPage is the page that the index has of a project; false where it has none, as far as can be told.
func (r *Resolver) indexPage(ctx context.Context, p python, project string) ([]byte, bool) {
	root := "https://pypi.org/simple"
	for _, i := range p.ExtraIndexes {
		if slices.Contains(i.Packages, project) {
			root = strings.TrimRight(i.URL, "/")
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, root+"/"+project+"/", nil)
	if err != nil {
		return nil, false
	}
	resp, err := r.Client().Do(req)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, false
	}
	return page, true
}
