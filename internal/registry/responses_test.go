package registry

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	libregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// documents are two that differ, of two types.
func documents() []Document {
	return []Document{{ArtifactType: lockType, Data: []byte("version: 1\n")},
		{ArtifactType: "application/vnd.other", Data: []byte("other\n")}}
}

// No call asks again for what the client has read or pushed.
func TestKnownAnswersAreNotAskedForAgain(t *testing.T) {
	t.Parallel()
	host, asked := start(t, bearer(t, "", ""))
	b := layered(t, 3000, 5000)
	c := client(Options{})
	if err := c.CanPush(t.Context(), host+"/ray:1"); err != nil {
		t.Fatal(err)
	}
	o := quick(host+"/ray:1", host+"/ray:2")
	o.Documents = documents()
	done, err := c.Push(t.Context(), b.root, b.source, o)
	if err != nil || done.Bytes != b.bytes {
		t.Fatalf("%d of %d bytes of layers were sent, error %v", done.Bytes, b.bytes, err)
	}
	if n := asked.count("GET /token"); n != 1 {
		t.Errorf("the question whether it may push and the push took %d tokens, want the same one: %v", n, asked.list)
	}
	pinned := host + "/ray@" + b.root.Digest.String()
	asked.reset()
	if _, err := c.Attach(t.Context(), pinned, o.Documents...); err != nil {
		t.Fatal(err)
	}
	if err := c.Tag(t.Context(), pinned, host+"/ray:3", host+"/ray:4"); err != nil {
		t.Fatal(err)
	}
	if n, puts := asked.count(""), asked.count("PUT /v2/ray/manifests/"); puts != 4 || n != puts+1 {
		t.Errorf("two documents and two tags took %d requests %v, want 4 manifests and the token to read",
			n, asked.list)
	}
	asked.reset()
	image, err := c.Inspect(t.Context(), pinned, lockType, "application/vnd.other")
	if err != nil {
		t.Fatal(err)
	}
	if n := asked.count("GET /v2/ray/manifests/"); n != 0 {
		t.Errorf("%d manifests were read that this client pushed: %v", n, asked.list)
	}
	for _, d := range documents() {
		if got := image.Attached[d.ArtifactType]; len(got) != 1 || string(got[0].Data) != string(d.Data) {
			t.Errorf("attached as %s: %+v, want %q", d.ArtifactType, got, d.Data)
		}
	}
	for _, tag := range []string{"1", "2", "3", "4"} {
		if found, ok, err := client(Options{}).Head(t.Context(), host+"/ray:"+tag); err != nil ||
			!ok || found.Digest != b.root.Digest {
			t.Errorf("tag %s is %s (there: %v, error %v), want %s", tag, found.Digest, ok, err, b.root.Digest)
		}
	}
}

// The cache of manifests is bounded, for one manifest and for all.
func TestResponseCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newResponseCache()
	at := func(i int) string { return fmt.Sprintf("http://host/v2/ray/manifests/%d", i) }
	c.putManifest(at(0), "", make([]byte, maxCachedManifest+1))
	if len(c.byURL) != 0 {
		t.Error("a manifest was kept that is longer than the limit")
	}
	const most = maxCachedManifests / maxCachedManifest
	for i := range most + 5 {
		data := bytes.Repeat([]byte{byte(i)}, maxCachedManifest)
		c.putManifest(at(i), "", data)
		c.putManifest(at(i), "", data) // what is there already takes no room
	}
	if len(c.byURL) != most || c.size != maxCachedManifests {
		t.Errorf("%d manifests of 1 MiB are kept, by its own count %d bytes, want %d", len(c.byURL), c.size, most)
	}
}

// The cache keeps nothing but manifests as manifests, even if a repository is called "manifests".
func TestARepositoryCalledManifests(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	repo := host + "/manifests/ray"
	d := push(t, repo+":1", image(t, amd64(), nil))
	c := client(Options{})
	for range 2 {
		if _, err := c.Inspect(t.Context(), repo+"@"+d); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.count("GET /v2/manifests/ray/manifests/"); n != 1 {
		t.Errorf("the manifest was read %d times, want once", n)
	}
	for at := range c.responses.byURL {
		if !strings.HasSuffix(at, "/v2/") && !strings.HasSuffix(at, "/manifests/"+d) {
			t.Errorf("%s is in the cache, and is no manifest", at)
		}
	}
}

// A manifest whose end does not come is an error that names the registry, and no answer besides.
func TestAManifestThatIsCut(t *testing.T) {
	t.Parallel()
	host, _ := start(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && faultyregistry.ReadManifest(r) {
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, "{")
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c := client(Options{})
	_, _, err := c.Head(t.Context(), host+"/ray:1")
	if err == nil || !strings.HasSuffix(err.Error(), "registry "+host+": unexpected EOF") {
		t.Errorf("error %v, want it to say what broke, without a URL", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/ray/manifests/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.transport.RoundTrip(req)
	if resp != nil {
		_ = resp.Body.Close()
		t.Errorf("an answer was given with the error %v", err)
	}
}

// A tag may be moved at any time, so it is asked for each time, and what a digest names may be
// inspected after a look alone.
func TestATagIsAskedEachTime(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	c := client(Options{})
	var refs []string
	for range 2 {
		want := push(t, host+"/ray:1", image(t, amd64(), nil))
		found, ok, err := c.Head(t.Context(), host+"/ray:1")
		if err != nil || !ok || found.Digest.String() != want {
			t.Fatalf("the tag is %s (there: %v, error %v), want %s, to which it was moved", found.Digest, ok, err, want)
		}
		refs = append(refs, found.Ref)
	}
	asked.reset()
	for _, ref := range refs {
		if image, err := c.Inspect(t.Context(), ref); err != nil || image.Ref != ref || len(image.Platforms) != 1 {
			t.Errorf("inspected %s as %+v, error %v", ref, image, err)
		}
	}
	if n := asked.count("GET /v2/ray/manifests/") + asked.count("GET /v2/") - asked.count("GET /v2/ray/"); n != 0 {
		t.Errorf("%d requests for what is known: %v", n, asked.list)
	}
}

// Documents come to registries that do not list referrers, too: the fallback tag, written once,
// names each of them, and those that others attached.
func TestAttachSeveralWithoutReferrers(t *testing.T) {
	t.Parallel()
	host, asked := serveHandler(t, libregistry.New(libregistry.WithReferrersSupport(false),
		libregistry.Logger(log.New(io.Discard, "", 0))), nil)
	b := layered(t, 3000)
	o := quick(host + "/ray:1")
	o.Documents = documents()
	c := client(Options{})
	if _, err := c.Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	if _, err := client(Options{}).Attach(t.Context(), host+"/ray:1", Document{ArtifactType: "application/vnd.third",
		Data: []byte("third\n")}); err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(b.root.Digest.String(), ":", "-", 1)
	for range 2 { // the second time all is there
		if _, err := c.Attach(t.Context(), host+"/ray:1", o.Documents...); err != nil {
			t.Fatal(err)
		}
		if n := asked.count("PUT /v2/ray/manifests/" + tag); n != 2 {
			t.Errorf("the fallback tag was written %d times for one document and two more, want twice", n)
		}
	}
	for _, d := range append(documents(), Document{ArtifactType: "application/vnd.third", Data: []byte("third\n")}) {
		got, err := client(Options{}).Attached(t.Context(), host+"/ray:1", d.ArtifactType)
		if err != nil || len(got) != 1 || string(got[0].Data) != string(d.Data) {
			t.Errorf("attached as %s: %+v, error %v, want %q", d.ArtifactType, got, err, d.Data)
		}
	}
}

// What fails of a small blob is sent again whole, but no more often than it failed.
func TestPushOfSmallBlobsThatFails(t *testing.T) {
	t.Parallel()
	const failures = 2
	b := layered(t, 3000)
	layer := func(r *http.Request) bool { return faultyregistry.Commit(r) && r.ContentLength == b.bytes }
	ends := &atomic.Int64{}
	for what, fault := range map[string]faultyregistry.Middleware{
		"503": faultyregistry.Failing(layer, failures, http.StatusServiceUnavailable),
		"401": faultyregistry.Expiring(func(r *http.Request) bool { return layer(r) && ends.Add(1) <= failures }),
	} {
		t.Run(what, func(t *testing.T) {
			host, _ := start(t, fault)
			done, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
			if err != nil || done.Bytes > (1+failures)*b.bytes {
				t.Errorf("%d bytes were sent for a layer of %d that failed %d times, error %v", done.Bytes, b.bytes,
					failures, err)
			}
			arrived(t, host+"/ray:1", b)
		})
	}
}

// A small blob takes two requests. Where the answer to the second is lost, it is found there and not sent again.
func TestPushOfSmallBlobs(t *testing.T) {
	t.Parallel()
	lost := &atomic.Bool{}
	for name, spoil := range map[string]func(next http.Handler) http.Handler{
		"as it should be": nil,
		"an answer is lost": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if faultyregistry.Commit(r) && lost.CompareAndSwap(false, true) {
					next.ServeHTTP(httptest.NewRecorder(), r)
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				next.ServeHTTP(w, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, asked := start(t, spoil)
			b := layered(t, 3000)
			done, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
			if err != nil || done.Bytes != b.bytes {
				t.Fatalf("%d bytes were sent for a layer of %d, error %v", done.Bytes, b.bytes, err)
			}
			arrived(t, host+"/ray:1", b)
			if posts, puts := asked.count("POST"), asked.count("PUT /v2/ray/blobs/"); posts != 2 ||
				puts != 2 || asked.count("PATCH") != 0 {
				t.Errorf("%d uploads and %d PUTs for a layer and a config, want 2 of each: %v", posts, puts, asked.list)
			}
		})
	}
}
