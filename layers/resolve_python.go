package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/llb"
)

// resolvePython finds which files Ray and the other packages need on top of what
// conda brought. uv answers on this machine; where it cannot, the pip of the built
// environment does. Old versions hold, but for those that stand in the way.
func resolvePython(ctx context.Context, r *Resolver, p python) ([]Artifact, error) {
	wheels, err := localWheels(p.dir, p.Wheels)
	if err != nil {
		return nil, err
	}
	r.know(wheels)
	direct, err := r.direct(ctx, p)
	if err != nil {
		return nil, err
	}
	locked, wheels, err := r.fromLock(ctx, p, slices.Concat(wheels, direct))
	if err != nil {
		return nil, err
	}
	r.waitAhead()
	own, err := r.openBuilds(ctx, p, wheels, locked)
	if err != nil {
		return nil, err
	}
	artifacts, err := r.resolveFiles(ctx, p, own, locked)
	if err != nil {
		return nil, err
	}
	artifacts = shareLayers(artifacts, r.old.layer("ray"), p.rules, r.updates("pip"))
	return r.keepCompiler(artifacts), nil
}

// resolveFiles finds the files of the packages, and what their builds need. own are files that no index has.
func (r *Resolver) resolveFiles(ctx context.Context, p python, own []Artifact,
	locked *lockedPackages) ([]Artifact, error) {
	artifacts, err := r.resolveByUV(ctx, p, own, locked)
	if errors.Is(err, errNeedsSandbox) {
		artifacts, err = r.resolveByPip(ctx, p, own, locked)
	}
	if err != nil {
		return nil, err
	}
	return r.withBuildNeeds(ctx, p, artifacts)
}

// resolveByPip asks the pip of the built environment.
func (r *Resolver) resolveByPip(ctx context.Context, p python, wheels []Artifact,
	locked *lockedPackages) ([]Artifact, error) {
	wheels, open, err := r.knowStandIns(wheels, p.byURL())
	if err != nil {
		return nil, err
	}
	// Own files first: before pip has seen one, it looks for its name on the index.
	requirements := slices.Concat(ownLines(wheels), p.indexed(), locked.requirements())
	options, err := p.pipOptions(r.allow)
	if err != nil {
		return nil, err
	}
	held := without(r.heldPins(), names(locked.requirements()))
	free := common(p.env.tools(), names(locked.requirements()), namesOf(wheels))
	for {
		artifacts, answer, err := r.askPip(ctx, p, pipQuestion{
			layer: "ray", wheels: wheels, requirements: requirements, constraints: slices.Concat(p.pins, held),
			options: options, builds: len(p.apt.Packages) > 0, free: free,
		})
		if err == nil {
			return r.settlePip(ctx, p, settleOpen(artifacts, open), free, locked)
		}
		conflict := answer.conflict
		if more := common(p.env.tools(), conflict); len(without(more, free)) > 0 {
			free = sorted(slices.Concat(free, without(more, free)))
			continue
		}
		if name := pipUnmatched(answer.text); conflict == nil && len(without(held, []string{name})) < len(held) {
			conflict = []string{name}
		}
		freed := without(held, conflict)
		if conflict == nil || len(held) == 0 {
			return nil, locked.pipError(r.pipHint(ctx, p, answer, err))
		}
		if len(freed) == len(held) {
			freed = nil
		}
		r.in.Log("ray: dropping the old versions of %s", shorten(without(held, names(freed)), 80))
		held = freed
	}
}

// settlePip is an answer of pip's without what conda brings just as well.
func (r *Resolver) settlePip(ctx context.Context, p python, artifacts []Artifact, free []string,
	locked *lockedPackages) ([]Artifact, error) {
	if len(free) > 0 {
		if err := r.noteDists(ctx); err != nil {
			return nil, err
		}
		artifacts = r.settleTools(artifacts, r.installed())
	}
	return artifacts, errors.Join(locked.settle(artifacts), checkHashes(artifacts, p.required))
}

// pipHint adds to an error of pip's which of conda's packages are in the way.
func (r *Resolver) pipHint(ctx context.Context, p python, answer pipAnswer, err error) error {
	if answer.conflict == nil || r.noteDists(ctx) != nil { // then the error is all that there is
		return err
	}
	return condaHint(err, answer.text, r.installed(), p.env)
}

// requirements are what the recipe asks of pip, one line each.
func (p python) requirements() []string {
	ray := "ray"
	if len(p.Extras) > 0 {
		ray += "[" + strings.Join(p.Extras, ",") + "]"
	}
	out := append([]string{ray + "==" + p.Version}, p.Packages...)
	for _, q := range p.required {
		out = append(out, q.String())
	}
	out = append(out, p.envPip...)
	if len(p.left) == 0 {
		return out
	}
	return slices.DeleteFunc(out, func(line string) bool {
		req, _, _ := parseRequirement(line)
		return slices.Contains(p.left, req.Name)
	})
}

// heldPins are the old versions that the resolver is asked to keep.
func (r *Resolver) heldPins() []string {
	if r.updates("pip") {
		return nil
	}
	var out []string
	for _, a := range runtimePackages(r.old.layer("ray")) {
		if a.Name != "ray" && !a.own() && !r.updates(a.Name) {
			out = append(out, a.Name+"=="+a.Version)
		}
	}
	return out
}

// without are the pins of other packages than the named ones.
func without(pins, packages []string) []string {
	var out []string
	for _, p := range pins {
		if name, _, _ := strings.Cut(p, "=="); !slices.Contains(packages, NormalName(name)) {
			out = append(out, p)
		}
	}
	return out
}

func names(pins []string) []string {
	out := make([]string, len(pins))
	for i, p := range pins {
		name, _, _ := strings.Cut(p, "==")
		out[i] = NormalName(name)
	}
	return out
}

// pipQuestion is what pip is asked for once.
type pipQuestion struct {
	layer                              string
	wheels                             []Artifact // of the recipe's own
	requirements, constraints, options []string
	installed                          []Artifact // beside what conda brought
	builds                             bool       // sources are built as they are in the image
	free                               []string   // of what conda brought: any version will do
	env                                *llb.Stage // the environment; nil: what conda brought
}

// pipAnswer is what pip said beside artifacts.
type pipAnswer struct {
	failed   bool     // pip came to its end, and found nothing that fits
	conflict []string // packages whose constraints are in each other's way; nil: there is no conflict
	text     string
	report   []byte // of an installation; nil: pip is too old
}

// askPip runs pip once.
func (r *Resolver) askPip(ctx context.Context, p python,
	q pipQuestion) (artifacts []Artifact, answer pipAnswer, err error) {
	in := llb.Scratch().Files("["+q.layer+"] requirements",
		llb.File{Path: "/requirements.txt", Data: []byte(strings.Join(q.requirements, "\n") + "\n")},
		llb.File{Path: "/constraints.txt", Data: []byte(strings.Join(q.constraints, "\n") + "\n")})
	mounts := []llb.Mount{{Path: work + "/in", Stage: in}, p.envMount(r.stack)}
	if q.env != nil {
		mounts[1] = llb.Mount{Path: p.env.prefix(), Stage: *q.env, From: p.env.prefix()}
	}
	if len(q.wheels) > 0 {
		own, err := artifactDir("["+q.layer+"] collect own wheels", q.wheels)
		if err != nil {
			return nil, answer, err
		}
		mounts = append(mounts, llb.Mount{Path: work + "/own", Stage: own})
	}
	vars := maps.Clone(pipEnv)
	vars["FREE"] = strings.Join(q.free, " ")
	if len(q.installed) > 0 {
		mounts = append(mounts, llb.Mount{Path: work + "/installed",
			Stage: stubs("["+q.layer+"] list what is there", q.installed)})
		vars["PYTHONPATH"] = work + "/installed"
	}
	args := append([]string{p.interpreter(), work + "/in/requirements.txt", work + "/in/constraints.txt"}, q.options...)
	root := r.stack.ToolStage
	if q.builds {
		root, _, err = r.buildRoot(ctx, p)
		if err != nil {
			return nil, answer, err
		}
	}
	out, err := r.Run(ctx, root, "["+q.layer+"] resolve "+shorten(q.requirements, 60), pipResolveText,
		vars, mounts, args...)
	if err != nil {
		return nil, answer, err
	}
	text := string(out["stderr"])
	answer.text = text + string(out["stdout"])
	if len(out["failed"]) > 0 {
		answer.failed, answer.conflict = true, pipConflict(answer.text)
		return nil, answer, fmt.Errorf("pip cannot satisfy %s: %s%s", shorten(q.requirements, 80),
			pipReason(string(out["stdout"]), text, string(out["log"])), r.yankedHint(ctx, p, text))
	}
	if report, ok := out["report.json"]; ok {
		answer.report = report
		artifacts, err = parseReport(report, q.wheels)
	} else {
		artifacts, err = parseDownloads(string(out["sums"]), string(out["log"]), q.wheels)
	}
	if err != nil {
		return nil, answer, err
	}
	r.noteYanked(artifacts, text)
	return artifacts, answer, r.sizes(ctx, artifacts)
}

// sizes fills in what pip does not say.
func (r *Resolver) sizes(ctx context.Context, artifacts []Artifact) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range artifacts {
		if a := &artifacts[i]; a.Size == 0 {
			g.Go(func() (err error) {
				a.Size, err = r.size(ctx, a.URL())
				return err
			})
		}
	}
	return g.Wait()
}

// own tells whether an artifact is the recipe's own file, or one that it names by URL: no index has it.
func (a Artifact) own() bool { return a.Origin == originLocal || a.For[forDirect] != "" }

// ownWheelURL is where pip finds the recipe's own wheels, and files by URL.
const ownWheelURL = "file://" + work + "/own/"

// pipFile is the artifact of a URL that pip took.
func pipFile(raw, sha256, name, version string, own []Artifact) (Artifact, error) {
	if file, ok := strings.CutPrefix(raw, ownWheelURL); ok {
		file, _, _ = strings.Cut(file, "#")
		at := slices.IndexFunc(own, func(a Artifact) bool { return a.Filename() == file })
		if at < 0 {
			return Artifact{}, fmt.Errorf("read pip's answer: %q is none of the recipe's wheels", raw)
		}
		a := own[at]
		if a.For[forDirect] != "" { // its own metadata says what it is
			a.Name, a.Version = NormalName(name), version
		}
		return a, nil
	}
	if err := digest.NewDigestFromEncoded(digest.SHA256, sha256).Validate(); err != nil {
		return Artifact{}, fmt.Errorf("read pip's answer: %q has no sha256; the index must give one", raw)
	}
	if strings.ContainsAny(raw, "?#") {
		file, _, _ := strings.Cut(raw, "?")
		return Artifact{}, fmt.Errorf("read the index's answer: it links %q with a query, which will not be valid for "+
			"ever: use an index whose links stay", path.Base(file))
	}
	origin, p, ok := originOf(strings.Replace(raw, "http://", "https://", 1))
	if !ok {
		i := strings.LastIndex(raw, "/")
		if i < 0 || i == len(raw)-1 {
			return Artifact{}, fmt.Errorf("read pip's answer: %q is no URL of a file; see what the index links", raw)
		}
		origin, p = raw[:i], raw[i+1:]
	}
	kind := KindSdist
	if strings.HasSuffix(p, ".whl") {
		kind = KindWheel
	}
	return Artifact{Kind: kind, Name: NormalName(name), Version: version, Origin: origin, Path: p, SHA256: sha256}, nil
}

// parseReport reads pip's installation report (pip 22.2 and later, report versions 0 and 1).
func parseReport(data []byte, own []Artifact) ([]Artifact, error) {
	var report struct {
		Install []struct {
			DownloadInfo struct {
				URL         string
				ArchiveInfo struct {
					Hash   string
					Hashes map[string]string
				} `json:"archive_info"`
			} `json:"download_info"`
			Metadata struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return nil, fmt.Errorf("read pip's report: %w", err)
	}
	var out []Artifact
	for _, i := range report.Install {
		sum := i.DownloadInfo.ArchiveInfo.Hashes["sha256"]
		if rest, ok := strings.CutPrefix(i.DownloadInfo.ArchiveInfo.Hash, "sha256="); ok && sum == "" {
			sum = rest
		}
		a, err := pipFile(i.DownloadInfo.URL, sum, i.Metadata.Name, i.Metadata.Version, own)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// foundLink is a line of pip's log (pip 9 to 21): where each file is.
var foundLink = lazy(`Found link (\S+?)(?:#\S*)? \(from `)

// parseDownloads reads what a pip without reports downloaded: sums of the
// files, and their places from its log.
func parseDownloads(sums, log string, own []Artifact) ([]Artifact, error) {
	places := map[string]string{}
	for _, m := range foundLink().FindAllStringSubmatch(log, -1) {
		places[path.Base(m[1])] = m[1]
	}
	var out []Artifact
	for line := range strings.Lines(sums) {
		sum, file, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			continue
		}
		if at := slices.IndexFunc(own, func(a Artifact) bool { return a.Filename() == file }); at >= 0 {
			out = append(out, own[at])
			continue
		}
		place, ok := places[file]
		if !ok {
			return nil, fmt.Errorf("read pip's log: it does not say where %q came from", file)
		}
		name, version, ok := wheelFile(file)
		if !ok {
			name, version = sdistFile(file)
		}
		a, err := pipFile(place, sum, name, version, own)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// sdistFile takes the name of a source distribution apart: name-version.tar.gz.
func sdistFile(file string) (name, version string) {
	for _, ext := range []string{".tar.gz", ".zip", ".tar.bz2"} {
		file = strings.TrimSuffix(file, ext)
	}
	i := strings.LastIndex(file, "-")
	if i < 0 {
		return NormalName(file), ""
	}
	return NormalName(file[:i]), file[i+1:]
}
