package world

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/layers"
)

// Sources tells of each source of an image why the real one cannot be used; nil where it answered.
type Sources struct {
	// Base is the registry of the default base image, Apt its archive.
	Base, Apt error
	// Conda is the conda channel, Installer the directory of Miniconda's installers.
	Conda, Installer error
	// Index is the Python index of this machine.
	Index error
}

// All is what the sources that do not answer say; nothing where all do.
func (s Sources) All() []error {
	var out []error
	for _, err := range []error{s.Base, s.Apt, s.Conda, s.Installer, s.Index} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// quickBase is the base of the default recipe.
const quickBase = "ubuntu:22.04"

// FindSources asks each real source for one small thing, all at once. It takes 10 seconds at most.
func FindSources(ctx context.Context) Sources {
	var s Sources
	official, _ := layers.Preset("official")
	var wait sync.WaitGroup
	for _, q := range []struct {
		into      *error
		what, url string
	}{
		{&s.Apt, "Ubuntu's archive", official.Ubuntu + "/dists/jammy/InRelease"},
		{&s.Conda, "the conda channel", official.CondaCloud + "/conda-forge/noarch/repodata.json.zst"},
		{&s.Installer, "Miniconda's installers", official.Miniconda + "/"},
	} {
		wait.Go(func() { *q.into = head(ctx, q.what, q.url) })
	}
	wait.Go(func() { s.Base = baseAnswers(ctx) })
	wait.Go(func() { s.Index = Answers(ctx, Index()) })
	wait.Wait()
	return s
}

func head(ctx context.Context, what, url string) error {
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", what, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("ask %s: %s answered %s", what, hostOf(url), resp.Status)
	}
	return nil
}

func baseAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	ref, err := name.ParseReference(quickBase)
	if err != nil {
		return err
	}
	if _, err = remote.Head(ref, remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("ask the registry of %s: %w", quickBase, err)
	}
	return nil
}

// debian tells whether the image is made of Debian's packages: Ubuntu's need both their base image and their archive.
func (s Sources) debian() bool { return s.Base != nil || s.Apt != nil }

// QuickRecipe is a raybuild.yaml that takes each source that answers from where it really is, and
// the others from the world.
func (w *World) QuickRecipe(s Sources) []byte {
	base, env := quickBase, "{name: ray}"
	var own, more []string
	if s.debian() {
		base = w.Base
		own = append(own, "apt: "+w.A.Apt)
	}
	if s.Conda != nil {
		own = append(own, "conda: "+w.A.Conda)
		env = `{name: ray, python: "3.11"}` // the only one that the world's channel has
	}
	if s.Installer != nil {
		own = append(own, "installer: "+w.A.Installer)
		in, _ := w.Installer("miniconda")
		more = append(more, fmt.Sprintf("miniconda: {version: %s, sha256: %s}", in.Version, in.SHA256))
	}
	fetch := "[host, official]"
	if len(own) > 0 {
		fetch = "[{" + strings.Join(own, ", ") + "}, host, official]"
	}
	return fmt.Appendf(nil, `# The recipe of make quickstart. Each source is the real one where it answered.
base: %s
mirrors: {fetch: %s}
apt: [less, wget]
%s
env: %s
ray: {version: %q, extras: [default, tune, rllib]}
pip: [requests]
`, base, fetch, strings.Join(more, "\n"), env, RayReal)
}

// Line says in one line what of an image is real and what is a stand-in. conda and installer tell
// that these are stand-ins.
func Line(lock *layers.LockPlatform, conda, installer bool) string {
	ray, python, packages := "", "", 0
	for _, l := range lock.Layers {
		for _, a := range l.Artifacts {
			switch {
			case a.Kind == layers.KindConda && a.Name == "python":
				python = majorMinor(a.Version)
			case a.Kind != layers.KindWheel && a.Kind != layers.KindSdist:
			case layers.NormalName(a.Name) == "ray":
				ray = a.Version
			default:
				packages++
			}
		}
	}
	index := "PyPI"
	if Index() != officialIndex {
		index = hostOf(Index())
	}
	system := lock.Base.ID
	if system != "" { // os-release may not say it
		system = strings.ToUpper(system[:1]) + system[1:]
	}
	system += " " + lock.Base.Release
	line := fmt.Sprintf("real: Ray %s and %d packages from %s, %s, Python %s", ray, packages, index, system, python)
	var standIns []string
	if conda {
		standIns = append(standIns, "conda channel")
	}
	if installer {
		standIns = append(standIns, "Miniconda installer")
	}
	if len(standIns) > 0 {
		line += " · stand-in: " + strings.Join(standIns, ", ")
	}
	return line
}

func majorMinor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
