package people_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/cli"
	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/internal/registry"
)

// Media types of what raybuild attaches to an image.
const (
	lockType   = "application/vnd.raybuild.lock.v1+yaml"
	inputsType = "application/vnd.raybuild.inputs.v1+json"
	spdxType   = "application/spdx+json"
)

// gitlab is the part of GitLab's allow-list that matters here (docs-gitlab/supported-media-types.md of
// gitlab-org/container-registry). It has no referrers API.
func gitlab() faultyregistry.Middleware {
	configs, layers := faultyregistry.ImageTypes()
	others := []string{spdxType, "application/vnd.cyclonedx+json", "application/vnd.in-toto+json",
		"application/vnd.oci.empty.v1+json", "application/octet-stream", "application/json"}
	return faultyregistry.All(faultyregistry.Allowing(slices.Concat(configs, others), slices.Concat(layers, others)),
		faultyregistry.WithoutReferrers(http.StatusNotFound))
}

// imagesAlone takes images and nothing else, as older Quays, Nexus and pulp do.
func imagesAlone() faultyregistry.Middleware {
	return faultyregistry.Allowing(faultyregistry.ImageTypes())
}

// TestCase1 is the first push to a registry that takes only what it knows: the image is pushed, and the next build
// takes layers from it. What the registry takes in no form is one warning.
func TestCase1RegistriesThatAllowListTypes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		profile  faultyregistry.Middleware
		warnings int  // of the first push
		reuses   bool // an edit takes layers from the image, on a machine that knows nothing
	}{
		"GitLab":                    {gitlab(), 0, true},
		"Quay, Nexus, pulp: images": {imagesAlone(), 0, true},
		"images, and no referrers API": {faultyregistry.All(imagesAlone(), faultyregistry.WithoutReferrers(405)), 0,
			true},
		"no manifest with a subject":   {faultyregistry.RefusingSubjects(http.StatusBadRequest), 1, false},
		"subjects are not implemented": {faultyregistry.RefusingSubjects(http.StatusNotImplemented), 1, false},
		"documents may not be pushed": {faultyregistry.All(faultyregistry.RefusingSubjects(http.StatusForbidden),
			faultyregistry.WithoutReferrers(403)), 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tt.profile)
			first := s.build(raybuild.BuildOptions{})
			if first.Reference == "" || len(first.warnings) != tt.warnings {
				t.Errorf("the image is %q, and there are %d warnings, want %d: %q", first.Reference,
					len(first.warnings), tt.warnings, first.warnings)
			}
			for _, w := range first.warnings {
				if !strings.Contains(w, "the image is pushed") {
					t.Errorf("the warning does not say that the image is pushed: %s", w)
				}
			}
			s.elsewhere()
			if again := s.build(raybuild.BuildOptions{}); !again.UpToDate || len(again.ran) > 0 {
				t.Errorf("the same recipe is built again: up to date: %v, steps %q", again.UpToDate, again.ran)
			}
			s.change("print(2)\n")
			edit := s.build(raybuild.BuildOptions{Names: []string{s.host + "/team/ray:2"}})
			if reused := edit.LayersFrom != ""; reused != tt.reuses {
				t.Errorf("the edit takes layers from %q, steps %q; %q", edit.LayersFrom, edit.ran, edit.warnings)
			}
			if tt.reuses && len(edit.ran) != 0 {
				t.Errorf("an edit of one file ran %q, want no step", edit.ran)
			}
		})
	}
}

// A document is read as it was attached, in whatever form the registry took it, and once.
func TestCase1DocumentsAreReadInBothForms(t *testing.T) {
	t.Parallel()
	for name, profile := range map[string]faultyregistry.Middleware{
		"GitLab":          gitlab(),
		"images alone":    imagesAlone(),
		"everything":      faultyregistry.All(),
		"no API: 404":     faultyregistry.WithoutReferrers(http.StatusNotFound),
		"no API: 403":     faultyregistry.WithoutReferrers(http.StatusForbidden),
		"no API: 405":     faultyregistry.WithoutReferrers(http.StatusMethodNotAllowed),
		"no API: 501":     faultyregistry.WithoutReferrers(http.StatusNotImplemented),
		"no API: a page":  faultyregistry.WithoutReferrers(http.StatusOK),
		"type with words": faultyregistry.Parameter(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, profile)
			ref := s.build(raybuild.BuildOptions{}).Reference
			c := registry.New(registry.Options{})
			for range 2 { // attached twice it is there once
				for _, kind := range []string{lockType, inputsType, spdxType} {
					found, err := c.Attached(t.Context(), ref, kind)
					if err != nil || len(found) != 1 || len(found[0].Data) == 0 {
						t.Errorf("%s: %d documents, error %v", kind, len(found), err)
						continue
					}
					if _, err := c.Attach(t.Context(), ref, registry.Document{ArtifactType: kind,
						MediaType: found[0].MediaType, Data: found[0].Data}); err != nil {
						t.Errorf("attach %s again: %v", kind, err)
					}
				}
			}
			found, err := c.Attached(t.Context(), ref, lockType)
			lock, rerr := os.ReadFile(filepath.Join(s.Dir, "raybuild.lock"))
			if err != nil || rerr != nil || len(found) == 0 || !bytes.Equal(found[0].Data, lock) {
				t.Errorf("the lock that is read is not the lock of the build; errors %v, %v", err, rerr)
			}
		})
	}
}

// TestCase1CommandLine: a script gets the digest, exit code 0 and the metadata file, whatever could not be attached.
func TestCase1CommandLine(t *testing.T) {
	s := newSite(t, faultyregistry.RefusingSubjects(http.StatusBadRequest))
	t.Setenv("RAYBUILD_HOME", s.home)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	meta := filepath.Join(t.TempDir(), "build.json")
	var stdout, stderr bytes.Buffer
	code := cli.Main(context.WithoutCancel(t.Context()), "dev", []string{"--push", "--frozen", "--progress", "plain",
		"-f", filepath.Join(s.Dir, "raybuild.yaml"), "--builder", s.Builder.Addr(), "--metadata-file", meta,
		s.host + "/team/ray:1"}, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	if code != 0 || !strings.HasPrefix(stdout.String(), s.host+"/team/ray@sha256:") {
		t.Errorf("exit code %d, standard output %q, standard error:\n%s", code, &stdout, &stderr)
	}
	if n := strings.Count(stderr.String(), "are not attached"); n != 1 {
		t.Errorf("%d warnings that something is not attached, want 1:\n%s", n, &stderr)
	}
	var m struct {
		Digest string `json:"containerimage.digest"`
	}
	data, err := os.ReadFile(meta)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil || m.Digest == "" || !strings.Contains(stdout.String(), m.Digest) {
		t.Errorf("the metadata file has digest %q, error %v", m.Digest, err)
	}
}

// TestCase37: where tags do not move, images are pushed under new tags, and raybuild's own marker is given up.
func TestCase37ImmutableTags(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"ECR": http.StatusBadRequest, "Harbor": http.StatusPreconditionFailed,
		"another one": http.StatusConflict} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, faultyregistry.Immutable(status))
			if first := s.build(raybuild.BuildOptions{}); len(first.warnings)+len(first.notes) != 0 {
				t.Errorf("the first push says %q %q", first.warnings, first.notes)
			}
			s.change("print(2)\n")
			second := s.build(raybuild.BuildOptions{Names: []string{s.host + "/team/ray:2"}})
			if len(second.warnings) != 0 || !slices.ContainsFunc(second.notes, func(n string) bool {
				return strings.Contains(n, "graph-last stays on an earlier image") &&
					strings.Contains(n, "--graph-tag=false")
			}) {
				t.Errorf("the second push warns %q and notes %q", second.warnings, second.notes)
			}
			if second.LayersFrom == "" || len(second.ran) != 0 {
				t.Errorf("the second push takes layers from %q and runs %q", second.LayersFrom, second.ran)
			}
			s.elsewhere()
			if found := s.build(raybuild.BuildOptions{Names: []string{s.host + "/team/ray:3"}}); found.Found == nil {
				t.Errorf("the image is not found by its graph, although that tag need not move: steps %q", found.ran)
			}
			s.change("print(3)\n")
			_, err := s.try(raybuild.BuildOptions{})
			if err == nil || !strings.Contains(err.Error(), "does not let tags move") ||
				!strings.Contains(err.Error(), "push under a new tag") {
				t.Errorf("a push under a tag that has another image says %v", err)
			}
		})
	}
}

// A copy to a repository of immutable tags is a copy, even if the tag of its graph stays with another image.
func TestCase37CopyWhereTheGraphsTagStays(t *testing.T) {
	t.Parallel()
	s := newSite(t, faultyregistry.Immutable(http.StatusBadRequest))
	first := s.build(raybuild.BuildOptions{Names: []string{s.host + "/dev/ray:1"}})
	tag := "graph-" + first.Graph.Digest.Encoded()[:32]
	c := registry.New(registry.Options{})
	if err := c.Tag(t.Context(), s.Host+"/base:12", s.host+"/prod/ray:"+tag); err != nil {
		t.Fatal(err)
	}
	s.elsewhere()
	got, err := s.try(raybuild.BuildOptions{Names: []string{s.host + "/dev/ray:1", s.host + "/prod/ray:1"}})
	if err != nil || len(got.ran) != 0 {
		t.Errorf("the image is not copied: error %v, steps %q", err, got.ran)
	}
}

// What registries do that changes nothing for the user: the image and what belongs to it are there.
func TestRegistriesOfManyKinds(t *testing.T) {
	t.Parallel()
	store := func(t *testing.T, s *site) string {
		srv := httptest.NewServer(faultyregistry.ObjectStore()(behind(s.Host)))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	plain := func(m faultyregistry.Middleware) func(*testing.T, *site) faultyregistry.Middleware {
		return func(*testing.T, *site) faultyregistry.Middleware { return m }
	}
	for name, profile := range map[string]func(*testing.T, *site) faultyregistry.Middleware{
		"no mounts across repositories": plain(faultyregistry.WithoutMounts()),
		"no DELETE":                     plain(faultyregistry.WithoutDelete()),
		"429 with Retry-After":          plain(faultyregistry.Busy(faultyregistry.Any, 17, "1")),
		"429 without Retry-After":       plain(faultyregistry.Busy(faultyregistry.Any, 17, "")),
		"tokens that end":               plain(faultyregistry.ShortTokens(40)),
		"blobs in an object store": func(t *testing.T, s *site) faultyregistry.Middleware {
			return faultyregistry.Redirecting(store(t, s))
		},
		"an object store behind tokens": func(t *testing.T, s *site) faultyregistry.Middleware {
			return faultyregistry.All(faultyregistry.ShortTokens(40), faultyregistry.Redirecting(store(t, s)))
		},
		"tags are shown to nobody": plain(faultyregistry.DigestsOnly(http.StatusNotFound)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, faultyregistry.All())
			s.host = s.front(profile(t, s))
			first := s.build(raybuild.BuildOptions{Names: []string{s.host + "/team/ray:1", s.host + "/prod/ray:1"}})
			if trouble := slices.DeleteFunc(first.warnings, func(w string) bool {
				return strings.Contains(w, "trying again in")
			}); len(trouble) != 0 {
				t.Errorf("the push warns %q", trouble)
			}
			for _, repository := range []string{"team", "prod"} {
				ref := fmt.Sprintf("%s/%s/ray@%s", s.host, repository, first.Digest)
				image, err := registry.New(registry.Options{}).Inspect(t.Context(), ref, lockType, inputsType)
				if err != nil || len(image.Attached[lockType]) != 1 || len(image.Attached[inputsType]) != 1 {
					t.Errorf("%s: error %v, %d locks and %d records", ref, err, len(image.Attached[lockType]),
						len(image.Attached[inputsType]))
				}
			}
			s.change("print(2)\n")
			edit := s.build(raybuild.BuildOptions{Names: []string{s.host + "/team/ray:2"}})
			if name != "tags are shown to nobody" && (edit.LayersFrom == "" || len(edit.ran) != 0) {
				t.Errorf("an edit of one file takes layers from %q and runs %q; %q", edit.LayersFrom, edit.ran,
					edit.warnings)
			}
		})
	}
}

// A repository that somebody has to make first is named before anything is built, with the command that makes it.
func TestRepositoriesThatAreMadeFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, faultyregistry.Made("team/other"))
	got, err := s.try(raybuild.BuildOptions{})
	if err == nil || !strings.Contains(err.Error(), "no such repository") ||
		!strings.Contains(err.Error(), `make "team/ray" there`) || len(got.ran) != 0 {
		t.Errorf("error %v, steps %q", err, got.ran)
	}
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "aws ecr create-repository --region eu-west-1 " +
			"--repository-name team/ray",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": "--region cn-north-1 --repository-name team/ray",
		"europe-west3-docker.pkg.dev":                      "make \"team/ray\" there",
	} {
		c := registry.New(registry.Options{Transport: elsewhere{s.host}, Insecure: []string{host}})
		if err := c.CanPush(t.Context(), host+"/team/ray:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error does not say %q: %v", host, want, err)
		}
	}
	c := registry.New(registry.Options{Transport: elsewhere{s.host}, Insecure: []string{"europe-docker.pkg.dev"}})
	const want = "gcloud artifacts repositories create team --repository-format docker --location europe --project corp"
	if err := c.CanPush(t.Context(), "europe-docker.pkg.dev/corp/team/ray:1"); err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("the error does not say %q: %v", want, err)
	}
}

// elsewhere makes all requests to one host.
type elsewhere struct{ host string }

// RoundTrip implements http.RoundTripper.
func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = "http", e.host, e.host
	return http.DefaultTransport.RoundTrip(r)
}
