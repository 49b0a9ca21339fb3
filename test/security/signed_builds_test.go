package security

import (
	"bytes"
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
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// watched is the site's registry behind a proxy that notes requests, and refuses those that refuse says.
func (v *victim) watched(refuse func(r *http.Request) bool) (host string, seen func() []string) {
	v.t.Helper()
	var (
		mu  sync.Mutex
		all []string
	)
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: v.Host})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.Method+" "+r.URL.Path)
		mu.Unlock()
		if refuse != nil && refuse(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		to.ServeHTTP(w, r)
	}))
	v.t.Cleanup(proxy.Close)
	host = strings.TrimPrefix(proxy.URL, "http://")
	v.Edit("raybuild.yaml", v.Host, host)
	v.Edit("raybuild.lock", v.Host, host)
	return host, func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := all
		all = nil
		return out
	}
}

// No name shows an image before it is signed. If it cannot be signed, no name has moved.
func TestM9NamesComeAfterSignatures(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	broken := false
	host, seen := v.watched(func(r *http.Request) bool {
		return broken && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".sig")
	})
	sign := raybuild.SignOptions{Key: v.key("ours")}
	first, _ := v.build(raybuild.BuildOptions{Names: []string{host + "/ray:1", host + "/team/ray:1"}, Sign: sign})
	all := seen()
	for _, repo := range []string{"ray", "team/ray"} {
		at := slices.IndexFunc(all, func(s string) bool {
			return strings.HasPrefix(s, "PUT /v2/"+repo+"/manifests/sha256-") && strings.HasSuffix(s, ".sig")
		})
		named := slices.Index(all, "PUT /v2/"+repo+"/manifests/1")
		if at < 0 || named < at {
			t.Errorf("%s got its name by request %d and its signature by request %d", repo, named, at)
		}
	}
	broken = true
	v.Edit("raybuild.yaml", "echo hello", "echo bye")
	p, err := raybuild.Open(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	seen()
	_, err = p.Build(t.Context(), raybuild.BuildOptions{Names: []string{host + "/ray:1"}, Push: true, PushRetry: -1,
		Frozen: true, Sign: sign})
	if err == nil || !strings.Contains(err.Error(), "no name was moved") {
		t.Errorf("the error is %v", err)
	}
	for _, s := range seen() {
		if tag, ok := strings.CutPrefix(s, "PUT /v2/ray/manifests/"); ok && !strings.HasPrefix(tag, "sha256") {
			t.Errorf("the tag %s moved", tag)
		}
	}
	if got := v.DigestOf(v.Ref("ray:1")); got != first.Digest {
		t.Errorf("ray:1 is %s, want %s", got, first.Digest)
	}
}

// An image that is there, and not signed by this key, is signed before it gets a further name.
func TestM9FoundImageIsSigned(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	v.trust = raybuild.TrustTag
	honest, _ := v.build(raybuild.BuildOptions{})
	sign := raybuild.SignOptions{Key: v.key("ours")}
	ours, err := signing.NewTrust([]signing.Identity{{Name: "us", Key: v.ourKey()}},
		signing.TrustOptions{})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(ref string) {
		t.Helper()
		if _, err := ours.Verify(t.Context(), v.client, ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if res, _ := v.build(raybuild.BuildOptions{Sign: sign}); !res.UpToDate {
		t.Errorf("it was not up to date: %+v", res)
	}
	signed(v.Ref("ray@" + honest.Digest))
	res, _ := v.build(raybuild.BuildOptions{Names: []string{v.Ref("team/ray:1")}, Sign: sign,
		CacheFrom: cache(v.Ref("ray:1"))})
	if res.Found == nil || res.Found.How != "copied" {
		t.Errorf("it was not copied: %+v", res)
	}
	signed(v.Ref("team/ray@" + honest.Digest))
	v.build(raybuild.BuildOptions{Sign: sign})
	if _, m := v.signatures("ray", honest.Digest); len(m.Layers) != 1 {
		t.Errorf("the key signed %d times", len(m.Layers))
	}
}

// A copy of a signed image keeps its signatures, so it is a hit in its own repository.
func TestM9CopyIsSigned(t *testing.T) {
	t.Parallel()
	for what, sign := range map[string]func(v *victim, s *signingtest.Sigstore, d string){
		"key": func(v *victim, _ *signingtest.Sigstore, d string) { v.signBy("ours", v.Ref("ray@"+d)) },
		"keyless": func(v *victim, s *signingtest.Sigstore, d string) {
			v.bundle(d, s.Bundle(digest.Digest(d), signingtest.Signed{}))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			sign(v, s, honest.Digest)
			o := raybuild.BuildOptions{Names: []string{v.Ref("team/ray:1")}, CacheFrom: cache(v.Ref("ray:1"))}
			if res, ran := v.build(o); res.Found == nil || res.Found.How != "copied" || len(ran) > 0 {
				t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
			}
			if res, ran := v.build(o); !res.UpToDate || len(ran) > 0 {
				t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
			}
		})
	}
}

// To look whether a signed image is up to date takes at most 7 requests, and little time.
func TestM9LookIsCheap(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		trust string
		most  int
	}{
		"key":     {"[{key: keys/ours.pub}]", 6},
		"keyless": {"[{issuer: \"" + signingtest.Issuer + "\", subject: " + signingtest.Subject + "}]", 7},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, s := newSigner(t)
			v.Edit("raybuild.yaml", "[{key: keys/ours.pub}, {issuer: \""+signingtest.Issuer+"\", subject: "+
				signingtest.Subject+"}]", c.trust)
			host, seen := v.watched(nil)
			o := raybuild.BuildOptions{Names: []string{host + "/ray:1"}}
			first, _ := v.build(o)
			v.signBy("ours", host+"/ray@"+first.Digest)
			v.bundle(first.Digest, s.Bundle(digest.Digest(first.Digest), signingtest.Signed{}))
			for range 3 {
				seen()
				start := time.Now()
				again, _ := v.build(o)
				took, all := time.Since(start), seen()
				if !again.UpToDate || len(all) > c.most {
					t.Fatalf("up to date %v, with %d requests, want at most %d: %s", again.UpToDate, len(all), c.most,
						strings.Join(all, "\n"))
				}
				t.Logf("%d requests, %s", len(all), took)
				if took < 150*time.Millisecond {
					return
				}
			}
			t.Error("the look took 150 ms or more, three times")
		})
	}
}

// Trust is no part of graph, lock and image.
func TestM9TrustChangesNoDigest(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	plain, _ := v.build(raybuild.BuildOptions{})
	w, _ := newSigner(t)
	if trusting, _ := w.build(raybuild.BuildOptions{}); trusting.LockDigest == "" ||
		trusting.Graph.Digest == "" || len(trusting.Layers) != len(plain.Layers) {
		t.Errorf("%+v", trusting)
	}
	v.Write("keys/ours.pub", w.ourKey())
	v.Edit("raybuild.yaml", "image: {", "trust: {signed_by: [{key: keys/ours.pub}]}\nimage: {")
	v.trust = raybuild.TrustTag
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 || res.Digest != plain.Digest {
		t.Errorf("the build ran %q: %+v", ran, res)
	}
	if text := v.attached(v.Ref("ray@"+plain.Digest), recipeType); bytes.Contains(text, []byte("trust")) {
		t.Errorf("trust travels with the image: %s", text)
	}
}

// The plan counts nothing of an image that is not believed.
func TestM9PlanOfAnUnsignedImage(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	v.build(raybuild.BuildOptions{})
	p, err := raybuild.Open(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plan, err := p.Plan(t.Context(), raybuild.CompareOptions{Image: v.Ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	if plan.UpToDate || !slices.ContainsFunc(plan.Notes, func(n string) bool { return strings.Contains(n, unsigned) }) {
		t.Errorf("the plan says up to date: %v, %q", plan.UpToDate, plan.Notes)
	}
	for _, l := range plan.Layers {
		if l.Status == "reused" {
			t.Errorf("layer %s is reused", l.Name)
		}
	}
}

// A job without a key's password, and a builder that gives names by itself, fail before anything is built.
func TestM9SigningFailsEarly(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	for key, says := range map[string]string{"keys/none.key": "no such file",
		"keyless": "there is no OIDC token here"} {
		p, err := raybuild.Open(t.Context(), v.options())
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Build(t.Context(), raybuild.BuildOptions{Names: []string{v.Ref("ray:1")}, Push: true, Frozen: true,
			Sign: raybuild.SignOptions{Key: key}})
		if err == nil || !strings.Contains(err.Error(), says) || len(v.Builder.Ran()) > 0 {
			t.Errorf("%s: %v, want an error with %q before anything ran", key, err, says)
		}
		p.Close()
	}
	o := raybuild.BuildOptions{Names: []string{v.Ref("ray:1")}, Sign: raybuild.SignOptions{Key: "keys/ours.key"}}
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "needs a push") {
		t.Errorf("the error is %v", err)
	}
}

// A builder that alone has a layer gives the names by itself. Then nothing is signed, and no name moves.
func TestM9BuilderThatPushesDoesNotSign(t *testing.T) {
	t.Parallel()
	v, _ := newSigner(t)
	v.Builder = fakebuilder.Start(t, fakebuilder.Options{NoContent: true})
	p, err := raybuild.Open(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Build(t.Context(), raybuild.BuildOptions{Names: []string{v.Ref("ray:1")}, Push: true, PushRetry: -1,
		Frozen: true, Sign: raybuild.SignOptions{Key: v.key("ours")}})
	if err == nil || !strings.Contains(err.Error(), "only the builder has a layer") {
		t.Errorf("the error is %v", err)
	}
	if got := v.DigestOf(v.Ref("ray:1")); got != "" {
		t.Errorf("the registry has %s as ray:1", got)
	}
}

// Keyless signing of a whole build, by the token of a job.
func TestM9KeylessBuild(t *testing.T) {
	t.Parallel()
	v, s := newSigner(t)
	config, base := s.Serve()
	v.env = map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": base + "/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job"}
	sign := raybuild.SignOptions{Key: "keyless", Config: config}
	honest, _ := v.build(raybuild.BuildOptions{Sign: sign})
	if res, ran := v.build(raybuild.BuildOptions{Sign: sign}); !res.UpToDate || len(ran) > 0 {
		t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
	}
	found, err := v.client.Referrers(t.Context(), v.Ref("ray@"+honest.Digest), bundleType)
	if err != nil || len(found) != 4 {
		t.Errorf("it has %d bundles, %v, want its signature and three signed claims", len(found), err)
	}
}

// ourKey is the project's own public key.
func (v *victim) ourKey() string {
	v.t.Helper()
	data, err := os.ReadFile(filepath.Join(v.Dir, "keys/ours.pub"))
	if err != nil {
		v.t.Fatal(err)
	}
	return string(data)
}
