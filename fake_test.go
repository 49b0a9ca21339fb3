package raybuild

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// site is a project with a builder that runs nothing and a registry of its own, so that what a
// build does around the builder is tested without root and network.
type site struct {
	t       testing.TB
	dir     string
	host    string // of the registry
	builder *fakebuilder.Builder
	fails   map[string]string            // steps that fail, by title, and what they say
	leaves  map[string]map[string]string // files that steps leave, by title's start
	stops   map[string]func()            // what is done when a step runs, by title
	events  []Event
}

const siteRecipe = `
base: HOST/base:12
mirrors: {fetch: [{pip: MIRROR/simple, apt: MIRROR/debian, conda: MIRROR/conda, installer: MIRROR/miniconda}]}
apt: []
miniconda: {version: py311_25.7.0-2, sha256: 1111111111111111111111111111111111111111111111111111111111111111}
env: {name: ray, python: "3.11"}
ray: {version: "2.60.0", extras: [default]}
pip: [requests]
files: [{from: app, to: /home/ray/app}]
steps: [{name: note, run: "echo hello > /opt/note", needs: [ray]}]
image: {labels: {team: a}}
`

// siteInputs are the digests of what the lock's layers were resolved for. Another value here makes
// every lock that anybody has stale.
var siteInputs = map[string]digest.Digest{
	"apt":       "sha256:3aa466dc91be11811fd8349a494e21847865240738ed8a80993b5d93f380bbde",
	"env":       "sha256:96c85ad1ae178a234926a11a9f8fdeb0ac8ce174593a23d188c63fb259fecc0d",
	"miniconda": "sha256:7ca0cfcfae408f4d5fd08401279a3c929420f23ba139b154ffabfb24b1b081a6",
	"ray":       "sha256:af4133e5b6196dc694e300f54388b3fdcdb7020409f3503be073677c8329aaed",
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), host: serveRegistry(t), fails: map[string]string{},
		leaves: map[string]map[string]string{}, stops: map[string]func(){}}
	s.builder = fakebuilder.Start(t, fakebuilder.Options{Run: func(title string) (map[string]string, error) {
		if stop, ok := s.stops[title]; ok {
			stop()
			time.Sleep(time.Second) // the end of the call goes its own way
		}
		if text, ok := s.fails[title]; ok {
			return nil, errors.New(text)
		}
		for start, files := range s.leaves {
			if strings.HasPrefix(title, start) {
				return files, nil
			}
		}
		return nil, nil
	}})
	index := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
	}))
	t.Cleanup(index.Close)
	base := s.pushBase("as it was")
	recipe := strings.NewReplacer("HOST", s.host, "MIRROR", index.URL).Replace(siteRecipe)
	s.write("raybuild.yaml", recipe)
	s.write("app/main.py", "print(1)\n")
	data, err := siteLock(s.host+"/base:12", base).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.write("raybuild.lock", string(data))
	return s
}

// pushBase gives the registry's base image a content, and tells its digest.
func (s *site) pushBase(note string) digest.Digest {
	s.t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, file := range [][2]string{
		{"etc/note", note},
		{"etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"},
		{"etc/apt/sources.list.d/debian.sources", ""},
		{"var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file[0], Mode: 0o644,
			Size: int64(len(file[1]))}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.ParseReference(s.host + "/base:12")
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	config.OS, config.Architecture, config.Config.Env = "linux", "amd64", []string{"PATH=/usr/bin:/bin"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	return digest.Digest(d.String())
}

// siteLock is a lock of the form that resolving gives; what it names is made up.
func siteLock(ref string, base digest.Digest) *layers.Lock {
	image := layers.LockImage{
		Reference: ref, Digest: base, ID: "debian", Release: "12", Codename: "bookworm", Glibc: "2.36", Layers: 1,
		Env: []string{"PATH=/usr/bin:/bin"}, AptFiles: []string{"/etc/apt/sources.list.d/debian.sources"},
	}
	file := func(kind, name, version, origin, path string) layers.Artifact {
		return layers.Artifact{Kind: kind, Name: name, Version: version, Origin: origin, Path: path,
			SHA256: digest.FromString(path).Encoded(), Size: 1000}
	}
	return &layers.Lock{Version: layers.LockVersion, Recipe: digest.FromString("recipe"),
		Platforms: map[string]*layers.LockPlatform{"linux/amd64": {
			Resolved: time.Unix(1790000000, 0).UTC(), Base: image, Tool: image,
			Layers: []layers.LockLayer{
				{Name: "apt", Inputs: siteInputs["apt"]},
				{Name: "miniconda", Inputs: siteInputs["miniconda"], Artifacts: []layers.Artifact{{
					Kind: layers.KindInstaller, Name: "miniconda", Version: "py311_25.7.0-2", Origin: "miniconda",
					Path: "Miniconda3-py311_25.7.0-2-Linux-x86_64.sh", SHA256: strings.Repeat("1", 64), Size: 1000}}},
				{Name: "env", Inputs: siteInputs["env"], Artifacts: []layers.Artifact{
					file(layers.KindConda, "pip", "25.3", "conda-forge", "noarch/pip-25.3-pyh_0.conda"),
					file(layers.KindConda, "python", "3.11.9", "conda-forge", "linux-64/python-3.11.9-h_0.conda"),
				}},
				{Name: "ray", Inputs: siteInputs["ray"], Artifacts: []layers.Artifact{
					file(layers.KindWheel, "ray", "2.60.0", "pypi",
						"packages/ra/ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl"),
					file(layers.KindWheel, "requests", "2.32.0", "pypi",
						"packages/re/requests-2.32.0-py3-none-any.whl"),
				}},
			},
		}}}
}

func (s *site) write(path, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// edit replaces text in a file of the project.
func (s *site) edit(path, old, with string) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		s.t.Fatalf("%s has no %q", path, old)
	}
	s.write(path, strings.ReplaceAll(string(data), old, with))
}

func (s *site) options() Options {
	s.events = nil
	return Options{Dir: s.dir, Builder: s.builder.Addr(), Home: filepath.Join(s.dir, "home"),
		Getenv: func(string) string { return "" },
		Log:    func(e Event) { s.events = append(s.events, e) }}
}

// ref is an image's name in the site's registry.
func (s *site) ref(image string) string { return s.host + "/" + image }

// tryBuild builds and pushes, and gives the titles of the steps that the builder ran.
func (s *site) tryBuild(o BuildOptions) (*Result, []string, error) {
	s.t.Helper()
	s.builder.Ran()
	if len(o.Names) == 0 {
		o.Names = []string{s.ref("ray:1")}
	}
	o.Push, o.Frozen, o.PushRetry = true, true, -1
	p, err := Open(s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	res, err := p.Build(s.t.Context(), o)
	return res, s.builder.Ran(), err
}

// build is tryBuild of what has to work.
func (s *site) build(o BuildOptions) (*Result, []string) {
	s.t.Helper()
	res, ran, err := s.tryBuild(o)
	if err != nil {
		s.t.Fatalf("build: %v", err)
	}
	return res, ran
}

// digestOf is what the registry has under a name; "": nothing.
func (s *site) digestOf(ref string) string {
	s.t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := remote.Head(parsed, remote.WithContext(s.t.Context()))
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

// sent are the names of the layers that were not there before.
func sent(res *Result) (names []string) {
	for _, l := range res.Layers {
		if !l.Reused {
			names = append(names, l.Name)
		}
	}
	return names
}

// A build pushes the image with lock, recipe and record. The next one finds it, whatever the builder remembers.
func TestBuildPushesOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, ran := s.build(BuildOptions{})
	if len(ran) == 0 || first.UpToDate || first.Engine != s.builder.Addr() || first.Smoke != "passed" {
		t.Errorf("the first build ran %q: %+v", ran, first)
	}
	if got := s.digestOf(s.ref("ray:1")); got != first.Digest {
		t.Errorf("the registry has %s, want %s", got, first.Digest)
	}
	s.builder.Forget()
	again, ran := s.build(BuildOptions{})
	if len(ran) > 0 || !again.UpToDate || again.Digest != first.Digest || again.Engine != "" || again.BytesPushed != 0 {
		t.Errorf("the second build ran %q: %+v", ran, again)
	}
	inspected, err := Inspect(t.Context(), s.ref("ray:1"), s.options())
	if err != nil {
		t.Fatal(err)
	}
	if len(inspected.Platforms) != 1 {
		t.Errorf("inspected %+v", inspected)
	}
}

// An edit is made from the image before it: the builder makes what is new, and the digest is that of a whole build.
func TestEditTakesLayersFromTheImageBefore(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		edit func(*site)
		ran  []string // steps that run; nil: no builder is asked
		sent []string // layers
	}{
		"own file": {func(s *site) { s.write("app/main.py", "print(2)\n") }, []string{}, []string{"files"}},
		"label":    {func(s *site) { s.edit("raybuild.yaml", "team: a", "team: b") }, nil, nil},
		"step": {func(s *site) { s.edit("raybuild.yaml", "echo hello", "echo bye") }, []string{"[note] run"},
			[]string{"note"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			first, _ := s.build(BuildOptions{})
			c.edit(s)
			edited, ran := s.build(BuildOptions{})
			if edited.LayersFrom != s.ref("ray@"+first.Digest) || edited.Digest == first.Digest {
				t.Errorf("layers come from %q, the image was %s and is %s", edited.LayersFrom, first.Digest,
					edited.Digest)
			}
			if (edited.Engine == "") != (c.ran == nil) {
				t.Errorf("the builder is %q", edited.Engine)
			}
			if !slices.Equal(withoutSmoke(ran), c.ran) {
				t.Errorf("%q ran, want %q", ran, c.ran)
			}
			if got := sent(edited); !slices.Equal(got, c.sent) {
				t.Errorf("layers %q were sent, want %q", got, c.sent)
			}
			whole, _ := s.build(BuildOptions{Names: []string{s.ref("whole:1")}, NoReuse: true, NoGraphTag: true})
			if whole.Digest != edited.Digest {
				t.Errorf("a whole build gives %s, the edit %s", whole.Digest, edited.Digest)
			}
		})
	}
}

func withoutSmoke(titles []string) []string {
	return slices.DeleteFunc(slices.Clone(titles),
		func(title string) bool { return llb.LayerOf(title) == layers.SmokeLayer })
}

// An image that a registry has under another tag or in another repository is not built again.
func TestBuildFindsTheImageUnderOtherNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	s.builder.Forget()
	for name, c := range map[string]struct {
		o   BuildOptions
		how string
	}{
		"another tag": {BuildOptions{Names: []string{s.ref("ray:2")}}, retagged},
		"another repository": {BuildOptions{Names: []string{s.ref("team/ray:1")},
			CacheFrom: []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": s.ref("ray:1")}}}}, copied},
	} {
		t.Run(name, func(t *testing.T) {
			res, ran := s.build(c.o)
			if len(ran) > 0 || res.Found == nil || res.Found.How != c.how || res.Digest != first.Digest ||
				res.BytesPushed != 0 {
				t.Errorf("it ran %q: %+v, %+v", ran, res, res.Found)
			}
			if got := s.digestOf(c.o.Names[0]); got != first.Digest {
				t.Errorf("the registry has %s as %s, want %s", c.o.Names[0], got, first.Digest)
			}
			inspected, err := Inspect(t.Context(), c.o.Names[0], s.options())
			if err != nil || inspected.Lock == "" {
				t.Errorf("the image carries no lock under its new name: %+v, %v", inspected, err)
			}
		})
	}
}

// Plan and Why foresee what a build does, without a builder.
func TestPlanForeseesTheBuild(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.build(BuildOptions{})
	s.edit("raybuild.yaml", "echo hello", "echo bye")
	s.builder.Forget()
	p, err := Open(s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plan, err := p.Plan(t.Context(), CompareOptions{Image: s.ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	why, err := p.Why(t.Context(), CompareOptions{Image: s.ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	if ran := s.builder.Ran(); len(ran) > 0 {
		t.Errorf("planning ran %q", ran)
	}
	var built []string
	for _, l := range plan.Layers {
		if l.Status != layers.Reused {
			built = append(built, l.Name)
		}
	}
	res, _ := s.build(BuildOptions{})
	if got := sent(res); !slices.Equal(got, built) {
		t.Errorf("layers %q were sent, the plan says %q", got, built)
	}
	if len(why.Layers) != 1 || why.Layers[0].Name != built[0] {
		t.Errorf("the difference is %+v, want that of %q", why.Layers, built)
	}
}

// A step that fails names itself and its last words, and nothing gets a name. What an image does
// not pass is told apart.
func TestFailedBuildNamesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fails["[note] run"] = "no room in /opt"
	res, _, err := s.tryBuild(BuildOptions{})
	var step *llb.StepError
	if !errors.As(err, &step) || step.Layer != "note" || !slices.Contains(step.Log, "no room in /opt") {
		t.Errorf("error %v, step %+v", err, step)
	}
	if !slices.ContainsFunc(res.Ran, func(s llb.Step) bool { return s.Failed }) {
		t.Errorf("the result does not have the failed step: %+v", res.Ran)
	}
	if got := s.digestOf(s.ref("ray:1")); got != "" {
		t.Errorf("the registry has %s", got)
	}
}

// An image that does not pass its test gets no name, and the error is the test's.
func TestImageThatFailsItsTestGetsNoName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fails["[smoke] import ray[default], requests"] =
		`raybuild-smoke: {"failures": [{"modules": ["requests"], "packages": ["requests 2.32.0"], "error": "ImportError: no", "alone": true}]}`
	res, ran, err := s.tryBuild(BuildOptions{})
	var failed *layers.SmokeError
	if !errors.As(err, &failed) || failed.Failures[0].Modules[0] != "requests" || len(ran) == len(withoutSmoke(ran)) {
		t.Errorf("error %v after %q", err, ran)
	}
	if got := s.digestOf(s.ref("ray:1")); got != "" || res.Digest != "" {
		t.Errorf("the registry has %s, the result %s", got, res.Digest)
	}
	delete(s.fails, "[smoke] import ray[default], requests")
	again, ran := s.build(BuildOptions{})
	if again.Smoke != "passed" || len(withoutSmoke(ran)) > 0 {
		t.Errorf("the second build is %q and ran %q", again.Smoke, ran)
	}
}

// A builder that cannot merge makes an image of its own layout, and says so; none of its layers is taken by an edit.
func TestBuilderThatCannotMerge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.builder = fakebuilder.Start(t, fakebuilder.Options{Linear: true})
	s.build(BuildOptions{})
	if !slices.ContainsFunc(s.events, func(e Event) bool {
		return e.Kind == Note && strings.Contains(e.Text, "cannot merge")
	}) {
		t.Errorf("nobody was told: %v", s.events)
	}
	s.write("app/main.py", "print(2)\n")
	if edited, _ := s.build(BuildOptions{}); edited.LayersFrom != "" {
		t.Errorf("layers were taken from %s", edited.LayersFrom)
	}
}

// A builder whose content nobody can read pushes by itself, the same image, and an edit is built whole.
func TestBuilderThatPushesItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	usual, _ := s.build(BuildOptions{Names: []string{s.ref("usual:1")}, NoGraphTag: true})
	s.builder = fakebuilder.Start(t, fakebuilder.Options{NoContent: true})
	first, _ := s.build(BuildOptions{})
	if first.Digest != usual.Digest || s.digestOf(s.ref("ray:1")) != first.Digest {
		t.Errorf("the registry has %s, the build made %s, raybuild's own push %s", s.digestOf(s.ref("ray:1")),
			first.Digest, usual.Digest)
	}
	told := func(text string) bool {
		return slices.ContainsFunc(s.events, func(e Event) bool { return strings.Contains(e.Text, text) })
	}
	if !told("the builder pushed") {
		t.Errorf("nobody was told: %v", s.events)
	}
	s.write("app/main.py", "print(2)\n")
	edited, _ := s.build(BuildOptions{})
	if edited.LayersFrom != "" || !told("building the whole image") || s.digestOf(s.ref("ray:1")) != edited.Digest {
		t.Errorf("the edit takes layers from %q, the registry has %s, the build made %s: %v", edited.LayersFrom,
			s.digestOf(s.ref("ray:1")), edited.Digest, s.events)
	}
}

// A build that is stopped says how far it came.
func TestStoppedBuildSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, stop := context.WithCancel(t.Context())
	s.stops["[ray] install ray 2.60.0"] = stop
	p, err := Open(s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Build(ctx, BuildOptions{Names: []string{s.ref("ray:1")}, Push: true, Frozen: true})
	var interrupted *InterruptedError
	if !errors.As(err, &interrupted) || !strings.Contains(interrupted.State, "finished steps are kept") ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for name, call := range map[string]func() error{
		"build": func() error { _, err := p.Build(ctx, BuildOptions{}); return err },
		"lock":  func() error { _, err := p.Lock(ctx, LockOptions{Update: []string{"base"}}); return err },
		"plan":  func() error { _, err := p.Plan(ctx, CompareOptions{Image: s.ref("ray:1")}); return err },
	} {
		if err := call(); !errors.As(err, &interrupted) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended: %v", name, err)
		}
	}
	if _, ran := s.build(BuildOptions{}); slices.Contains(ran, "[miniconda] install miniconda py311_25.7.0-2") {
		t.Errorf("what had run ran again: %q", ran)
	}
}

// A rebase takes the new base's layers, and all others from the image.
func TestRebaseTakesTheNewBase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	s.pushBase("patched")
	s.builder.Forget()
	s.builder.Ran()
	res, err := Rebase(t.Context(), s.ref("ray:1"), s.options(), RebaseOptions{BuildOptions: BuildOptions{Push: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Rebased || res.Image == res.From || res.From != s.ref("ray@"+first.Digest) {
		t.Errorf("the rebase came to %+v", res)
	}
	if ran := withoutSmoke(s.builder.Ran()); len(ran) > 1 {
		t.Errorf("a rebase ran %q", ran)
	}
	again, err := Rebase(t.Context(), s.ref("ray:1"), s.options(),
		RebaseOptions{BuildOptions: BuildOptions{Push: true}})
	if err != nil || again.Rebased || again.Image != res.Image {
		t.Errorf("the second rebase came to %+v, %v", again, err)
	}
}

// An addition is one more layer, and the image that a build of the recipe with it gives.
func TestAddPutsALayerOnTop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	url := "https://files.pythonhosted.org/packages/ei/einops-0.8.0-py3-none-any.whl"
	s.leaves["[add-1] resolve"] = map[string]string{"report.json": fmt.Sprintf(
		`{"install": [{"download_info": {"url": %q, "archive_info": {"hashes": {"sha256": "%s"}}}, "metadata": {"name": "einops", "version": "0.8.0"}}]}`, url, digest.FromString(url).Encoded())}
	s.builder.Ran()
	res, err := Add(t.Context(), s.ref("ray:1"), []string{"einops"}, s.options(), BuildOptions{Push: true})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Added || len(res.Changes) != 1 || res.Changes[0].Name != "einops" {
		t.Errorf("the addition came to %+v", res)
	}
	if n := len(res.Build.Layers); n != len(first.Layers)+1 {
		t.Errorf("the image has %d layers on %d", n, len(first.Layers))
	}
	again, err := Add(t.Context(), s.ref("ray:1"), []string{"einops"}, s.options(), BuildOptions{Push: true})
	if err != nil || again.Added {
		t.Errorf("what is there was added again: %+v, %v", again, err)
	}
}

// program is a layer of one's own that is made of a file.
type program struct{ version string }

func (program) Name() string            { return "program" }
func (program) Needs() []string         { return nil }
func (p program) Inputs() digest.Digest { return digest.FromString(p.version) }

func (p program) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) {
	return []layers.Artifact{{
		Kind: layers.KindFile, Name: "program", Version: p.version, Origin: "https://files.example.org",
		Path:   "program-" + p.version,
		SHA256: digest.FromString(p.version).Encoded(), Size: 1000,
	}}, nil
}

func (program) Apply(on layers.Stack, locked []layers.Artifact) (layers.Stack, error) {
	if len(locked) != 1 {
		return on, fmt.Errorf("the program is made of %d files", len(locked))
	}
	file := llb.Artifact(llb.Blob{Digest: locked[0].Digest(), Name: "program"})
	return on.Add("program", "program", "[program] add", file), nil
}

// A layer of one's own is resolved once, and again when it asks for something else. What it is made of is in the lock.
func TestOwnLayerIsLocked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	build := func(version string) *Result {
		t.Helper()
		o := s.options()
		o.Layers = []layers.Layer{program{version}}
		p, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		res, err := p.Build(t.Context(), BuildOptions{Names: []string{s.ref("ray:1")}, Push: true})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := build("1")
	if last := first.Layers[len(first.Layers)-1]; last.Name != "program" {
		t.Errorf("the last layer is %+v", last)
	}
	lock, err := os.ReadFile(filepath.Join(s.dir, "raybuild.lock"))
	if err != nil || !strings.Contains(string(lock), digest.FromString("1").Encoded()) {
		t.Errorf("the lock does not have the program, %v:\n%s", err, lock)
	}
	if again := build("1"); !again.UpToDate {
		t.Errorf("the same program was built again: %+v", again)
	}
	second := build("2")
	if got := sent(second); !slices.Equal(got, []string{"program"}) {
		t.Errorf("layers %q were sent", got)
	}
	// The command knows nothing of the layer, and what it resolves leaves the lock's part of it alone.
	p, err := Open(s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Build(t.Context(), BuildOptions{Names: []string{s.ref("other:1")}, Push: true}); err != nil {
		t.Fatal(err)
	}
}
