package layers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/uv"
)

// Resolvers of Python packages.
const (
	resolverUV  = "uv"
	resolverPip = "pip"
)

// PythonResolver resolves Python packages on this machine, without a builder: a uv.Resolver.
type PythonResolver interface {
	Resolve(ctx context.Context, q uv.Question) (*uv.Answer, error)
}

// errNeedsSandbox says that only pip in the sandbox can resolve the packages.
var errNeedsSandbox = errors.New("only pip in the build sandbox can resolve these packages")

// python gives uv, or errNeedsSandbox.
func (r *Resolver) python(ctx context.Context, p python) (PythonResolver, error) {
	if p.Resolver == resolverPip || r.in.Python == nil {
		return nil, errNeedsSandbox
	}
	resolver, err := r.in.Python(ctx)
	if err != nil && ctx.Err() == nil { // no uv for this machine, or on no mirror
		r.in.Log("ray: pip resolves in the sandbox, because uv cannot: %v", err)
		return nil, errNeedsSandbox
	}
	return resolver, err
}

// resolveByUV asks uv which files Ray and the other packages need on top of what conda brought. The old
// versions stay where they can.
func (r *Resolver) resolveByUV(ctx context.Context, p python, own []Artifact,
	locked *lockedPackages) (_ []Artifact, err error) {
	resolver, err := r.python(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := r.noteDists(ctx); err != nil {
		return nil, err
	}
	q, err := r.uvQuestion(ctx, p, p.requirements())
	if err != nil {
		return nil, err
	}
	all := q.Installed
	locked.addTo(&q)
	stand, err := r.standIns(ctx, p, own)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stand.remove()) }()
	q.Installed = withoutInstalled(all, common(p.env.tools(), names(locked.requirements()), namesOf(own)))
	if q.Wheels, err = stand.wheels(p.dir, own); err != nil {
		return nil, err
	}
	if old := r.old.layer("ray"); !r.updates("pip") {
		q.Held = held(runtimePackages(old), func(a Artifact) bool {
			return (a.Name != "ray" || a.Version == p.Version) && !slices.Contains(p.left, a.Name)
		})
		for _, h := range q.Held {
			if r.updates(h.Name) {
				q.Upgrade = append(q.Upgrade, h.Name)
			}
		}
		r.know(old)
	}
	answer, err := r.askFreely(ctx, resolver, q, p.env)
	var build *uv.NeedsBuildError
	if errors.As(err, &build) {
		r.in.Log("ray: %s %s has only sources, and what they need is known when they are built: pip resolves in the "+
			"sandbox", build.Name, build.Version)
		return nil, errNeedsSandbox
	}
	if err != nil {
		return nil, uvError(p, stand.clean(own, err))
	}
	if len(answer.Dropped) > 0 {
		r.in.Log("ray: dropping the old versions of %s", shorten(answer.Dropped, 80))
	}
	if len(answer.Overruled) > 0 {
		r.in.Log("warning: %s has versions of %s that other packages refuse; they stay, because the lock has them:\n%s",
			locked.file, shorten(answer.Overruled, 80), answer.Refusal)
	}
	artifacts, err := r.uvArtifacts(ctx, answer, stand.named(own), locked)
	return r.settleTools(artifacts, all), err
}

// askUV shows the question while uv answers it.
func (r *Resolver) askUV(ctx context.Context, resolver PythonResolver, q uv.Question) (*uv.Answer, error) {
	end, err := r.in.shown.step(ctx, "ray", "resolve "+shorten(q.Requirements, 60))
	if err != nil {
		return nil, err
	}
	defer end()
	return resolver.Resolve(ctx, q)
}

// held are locked packages as uv keeps them: no index is asked for them.
func held(locked []Artifact, keep func(Artifact) bool) []uv.Held {
	var out []uv.Held
	for _, a := range locked {
		if !a.own() && (keep == nil || keep(a)) {
			out = append(out, uv.Held{Name: a.Name, Version: a.Version, URL: a.URL(), SHA256: a.SHA256, Size: a.Size})
		}
	}
	return out
}

// uvError is an error of uv's in the words of the recipe.
func uvError(p python, err error) error {
	var none *uv.NoSolutionError
	if !errors.As(err, &none) {
		return err
	}
	var yanked []string
	for _, m := range wasYanked().FindAllStringSubmatch(none.Error(), -1) {
		yanked = append(yanked, m[1])
	}
	if slices.Sort(yanked); len(yanked) == 0 {
		err = fmt.Errorf("%w%s", err, whatToDo(afterConflict, none.Text))
	} else {
		err = fmt.Errorf("%w\nyanked from the index, and taken only if == pins them: %s; name another version, or pin "+
			"one of them to take it anyway", err, shorten(slices.Compact(yanked), 100))
	}
	return fmt.Errorf("uv cannot satisfy %s: %w", shorten(p.requirements(), 80), err)
}

// wasYanked is what uv says of a version that the index has withdrawn (uv 0.13).
var wasYanked = lazy(`([a-z0-9-]+==\S+) was yanked`)

// uvQuestion is what uv is asked.
func (r *Resolver) uvQuestion(ctx context.Context, p python, requirements []string) (uv.Question, error) {
	q := uv.Question{
		Target: r.target(),
		// Without their hashes: these are checked by themselves.
		Constraints: p.pins, Hashes: map[string][]string{}, Projects: map[string]string{},
	}
	for _, line := range requirements {
		req, message, _ := parseRequirement(line)
		if message != "" {
			return q, fmt.Errorf("ask uv for %q: it %s", line, message)
		}
		if req.URL != "" { // its file comes beside the question
			if req = req.registered(); req.Name == "" {
				continue
			}
		} else if len(req.Hashes) > 0 {
			q.Hashes[req.Name] = req.Hashes
		}
		req.Hashes = nil
		q.Requirements = append(q.Requirements, req.String())
	}
	for _, req := range p.required {
		if len(req.Hashes) > 0 && req.URL == "" {
			q.Hashes[req.Name] = req.Hashes
		}
	}
	for _, i := range p.ExtraIndexes {
		root := strings.TrimRight(i.URL, "/")
		if _, err := r.allow(root); err != nil {
			return q, fmt.Errorf("read url of index %s: %w", root, err)
		}
		for _, name := range i.Packages {
			q.Projects[NormalName(name)] = root
		}
	}
	var err error
	q.Installed, err = r.condaDists(ctx, slices.Clone(r.locked.layer("env")))
	// Of what wheels have replaced, conda's version is gone.
	q.Installed = withoutInstalled(q.Installed, namesOf(runtimePackages(r.locked.layer("ray"))))
	return q, err
}

// uvArtifacts are the artifacts of an answer. own are the files that it may have beside those of indexes, by name.
func (r *Resolver) uvArtifacts(ctx context.Context, answer *uv.Answer, own map[string]Artifact,
	locked *lockedPackages) ([]Artifact, error) {
	var out []Artifact
	for _, p := range answer.Packages {
		a, err := own[p.Filename], error(nil)
		if p.Path == "" {
			a, err = pipFile(p.URL, p.SHA256, p.Name, p.Version, nil)
		} else if a.SHA256 == "" {
			err = fmt.Errorf("read uv's answer: %q is none of the recipe's wheels", p.Filename)
		}
		if err != nil {
			return nil, err
		}
		a.Size = cmp.Or(a.Size, p.Size)
		out = append(out, a)
	}
	if err := locked.settle(out); err != nil {
		return nil, err
	}
	for _, old := range r.old.layer("ray") { // a held version that was yanked stays so
		i := slices.IndexFunc(out, func(a Artifact) bool { return a.SHA256 == old.SHA256 && old.For["yanked"] != "" })
		if i >= 0 {
			out[i].For = withFact(out[i].For, "yanked", old.For["yanked"])
		}
	}
	r.noteYankedByUV(out, answer.Warnings)
	return out, r.sizes(ctx, out)
}
