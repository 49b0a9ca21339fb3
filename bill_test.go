package raybuild

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/internal/provenance"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
)

// claims are the documents of some types that are attached to an image.
func (s *site) claims(ref string) map[string][]string {
	s.t.Helper()
	out := map[string][]string{}
	c := registry.New(registry.Options{})
	for _, kind := range []string{sbom.SPDXType, sbom.CycloneDXType, provenance.ArtifactType} {
		found, err := c.Attached(s.t.Context(), ref, kind)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, a := range found {
			out[kind] = append(out[kind], string(a.Data))
		}
	}
	return out
}

// one is the only document of each type.
func (s *site) one(ref string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for kind, all := range s.claims(ref) {
		if len(all) != 1 {
			s.t.Fatalf("%s: %d documents of type %s", ref, len(all), kind)
		}
		out[kind] = all[0]
	}
	if len(out) != 3 {
		s.t.Fatalf("%s has documents of %d types, want 3; %v", ref, len(out), s.events)
	}
	return out
}

// leavesPackages lets steps leave what package systems write.
func (s *site) leavesPackages() {
	s.Leaves["[miniconda]"] = map[string]string{
		"opt/conda/conda-meta/conda-25.7.0-0.json": `{"name": "conda", "version": "25.7.0", "build": "0",
			"license": "BSD-3-Clause", "url": "https://u:secret@repo.example/pkgs/main/linux-64/conda-25.7.0-0.conda"}`}
	s.Leaves["[env]"] = map[string]string{
		"opt/conda/envs/ray/conda-meta/pip-25.3-pyh_0.json":                           `{"name": "pip", "version": "25.3", "license": "MIT"}`,
		"opt/conda/envs/ray/lib/python3.11/site-packages/pip-25.3.dist-info/METADATA": "Name: pip\nVersion: 25.3\n",
	}
	s.Leaves["[note]"] = map[string]string{
		"opt/conda/envs/ray/lib/python3.11/site-packages/by_hand-1.dist-info/METADATA": "Name: by_hand\nVersion: 1\n"}
}

func packageNames(all []ImagePackage) []string {
	var out []string
	for _, p := range all {
		out = append(out, p.Kind+" "+p.Name+" "+p.Version+" "+p.Layers[0].Title)
	}
	return out
}

// A push attaches bills and provenance. They are the same on each machine, and are what is made again of the image.
func TestPushAttachesBills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.leavesPackages()
	first, _ := s.build(BuildOptions{Version: "v1"})
	docs := s.one(s.Ref("ray:1"))
	for _, want := range []string{`"libc6"`, `pkg:pypi/requests@2.32.0`, `pkg:conda/conda@25.7.0`, `"app/main.py"`, `"note"`,
		"pkg:pypi/by-hand@1", "https://files.pythonhosted.org/packages/ra/ray-2.60.0"} {
		for kind, text := range docs {
			if kind != provenance.ArtifactType && !strings.Contains(text, want) {
				t.Errorf("%s has no %s:\n%s", kind, want, text)
			}
		}
	}
	for kind, text := range docs {
		if strings.Contains(text, "secret") {
			t.Errorf("%s has a password", kind)
		}
		if !strings.Contains(text, strings.TrimPrefix(first.Digest, "sha256:")) {
			t.Errorf("%s does not name the image", kind)
		}
	}
	t.Run("made again", func(t *testing.T) {
		for _, home := range []string{"home", "other"} {
			o := s.options()
			o.Home = filepath.Join(s.Dir, home)
			bill, err := ReadSBOM(t.Context(), s.Ref("ray:1"), o, SBOMOptions{})
			if err != nil {
				t.Fatal(err)
			}
			data, err := bill.SPDX()
			if err != nil || string(data) != docs[sbom.SPDXType] || bill.Attached != AttachedSame || !bill.Recorded {
				t.Errorf("%s: %v, %q, recorded %v:\n%s\nattached:\n%s", home, err, bill.Attached, bill.Recorded, data,
					docs[sbom.SPDXType])
			}
			want := []string{"conda conda 25.7.0 miniconda", "conda pip 25.3 env", "deb libc6 2.36-9 base",
				"python by_hand 1 note", "python pip 25.3 env", "python ray 2.60.0 ray", "python requests 2.32.0 pip-1"}
			if got := packageNames(bill.Packages); !slices.Equal(got, want) {
				t.Errorf("packages %q, want %q", got, want)
			}
		}
	})
	t.Run("up to date", func(t *testing.T) {
		if again, _ := s.build(BuildOptions{Version: "v2"}); !again.UpToDate {
			t.Error("it is not up to date")
		}
		if got := s.one(s.Ref("ray:1")); got[sbom.SPDXType] != docs[sbom.SPDXType] {
			t.Error("the image has another bill")
		}
	})
	t.Run("an empty machine", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(s.Dir, "home")); err != nil {
			t.Fatal(err)
		}
		s.Edit("raybuild.yaml", "team: a", "team: b")
		edited, _ := s.build(BuildOptions{Version: "v1"})
		if edited.Engine != "" {
			t.Errorf("the builder is %q", edited.Engine)
		}
		after := strings.ReplaceAll(s.one(s.Ref("ray:1"))[sbom.SPDXType], strings.TrimPrefix(edited.Digest, "sha256:"),
			strings.TrimPrefix(first.Digest, "sha256:"))
		if after != docs[sbom.SPDXType] {
			t.Errorf("an edit of a label on an empty machine has another bill:\n%s\nwant\n%s", after,
				docs[sbom.SPDXType])
		}
	})
}

// A copy of an image in another repository has its bills, and an image without them stays without.
func TestBillsOfCopies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.build(BuildOptions{})
	docs := s.one(s.Ref("ray:1"))
	s.build(BuildOptions{Names: []string{s.Ref("ray:1"), s.Ref("team/ray:1")}})
	if got := s.one(s.Ref("team/ray:1")); got[sbom.SPDXType] != docs[sbom.SPDXType] {
		t.Error("the copy has another bill")
	}
	s.Edit("raybuild.yaml", "team: a", "team: b")
	s.build(BuildOptions{NoSBOM: true})
	if got := s.claims(s.Ref("ray:1")); len(got) > 0 {
		t.Errorf("with NoSBOM there are %v", got)
	}
}

// A registry that refuses bills is a warning.
func TestRefusedBillsAreAWarning(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	there := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Host})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		// in any form: bills are named in no other manifest
		if err == nil && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") &&
			bytes.Contains(body, []byte(sbom.SPDXType)) {
			http.Error(w, "no such types here", http.StatusForbidden)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		there.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	name := strings.TrimPrefix(proxy.URL, "http://") + "/ray:1"
	if _, _, err := s.tryBuild(BuildOptions{Names: []string{name}}); err != nil {
		t.Fatal(err)
	}
	if text := eventsText(s); !strings.Contains(text, "warning: the image has no bills of materials") {
		t.Errorf("nobody says that bills are refused:\n%s", text)
	}
	if i, err := Inspect(t.Context(), s.Ref("ray:1"), s.options()); err != nil || i.Lock == "" {
		t.Errorf("the image has no lock: %v", err)
	}
}

func eventsText(s *site) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, e := range s.events {
		out = append(out, e.String())
	}
	return strings.Join(out, "\n")
}

// An image that raybuild did not build is read, and a forged bill is told.
func TestBillOfOtherImages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bill, err := ReadSBOM(t.Context(), s.Ref("base:12"), s.options(), SBOMOptions{Files: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := packageNames(bill.Packages); len(got) != 1 || !strings.HasPrefix(got[0], "deb libc6 2.36-9 ") ||
		bill.Attached != AttachedNone || bill.Recorded {
		t.Errorf("%q, %+v", got, bill)
	}
	if files := bill.Unowned["linux/amd64"]; !slices.Contains(files, "etc/note") {
		t.Errorf("unowned: %q", files)
	}
	res, _ := s.build(BuildOptions{NoSBOM: true})
	ref := s.Ref("ray@" + res.Digest)
	forged := &sbom.Bill{Digest: "sha256:" + bill.bill.Digest[7:]}
	data, err := forged.SPDX()
	if err != nil {
		t.Fatal(err)
	}
	_, err = registry.New(registry.Options{}).Attach(t.Context(), ref, registry.Document{ArtifactType: sbom.SPDXType,
		Data: data})
	if err != nil {
		t.Fatal(err)
	}
	o := s.options()
	o.Home = t.TempDir()
	bill, err = ReadSBOM(t.Context(), ref, o, SBOMOptions{})
	if err != nil || bill.Attached != AttachedOther || len(bill.Packages) < 3 {
		t.Errorf("%v: %+v", err, bill)
	}
}

// A push asks the registry few times more for bills and provenance, and the look at an image that is up to date not
// once more.
func TestBillsTakeFewRequests(t *testing.T) {
	t.Parallel()
	requests := func(without bool) (edit, look int) {
		s := newSite(t)
		var mu sync.Mutex
		n := 0
		there := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Host})
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			n++
			mu.Unlock()
			there.ServeHTTP(w, r)
		}))
		t.Cleanup(proxy.Close)
		o := BuildOptions{Names: []string{strings.TrimPrefix(proxy.URL, "http://") + "/ray:1"}, NoSBOM: without}
		s.build(o)
		s.Edit("raybuild.yaml", "team: a", "team: b")
		n = 0
		s.build(o)
		edit, n = n, 0
		s.build(o)
		return edit, n
	}
	editWith, lookWith := requests(false)
	editWithout, lookWithout := requests(true)
	if editWith > editWithout+9 || lookWith > lookWithout {
		t.Errorf("an edit asks %d times with bills and %d without, a look %d and %d", editWith, editWithout, lookWith,
			lookWithout)
	}
}
