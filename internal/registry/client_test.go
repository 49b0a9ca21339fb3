package registry

import (
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	libregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
)

const lockType = "application/vnd.raybuild.lock.v1+yaml"

func TestLook(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	want := push(t, host+"/ray:1", image(t, amd64(), map[string]string{"dev.raybuild.graph": "sha256:abc"}))
	asked.reset()
	found, ok, err := client(Options{}).Head(t.Context(), host+"/ray:1")
	if err != nil || !ok {
		t.Fatalf("Head: %v, %v", ok, err)
	}
	if string(found.Digest) != want || found.Annotations["dev.raybuild.graph"] != "sha256:abc" ||
		found.Ref != host+"/ray@"+want {
		t.Errorf("found %+v, want digest %s", found, want)
	}
	if len(found.Layers) != 2 || found.Layers[0].Size == 0 || found.Layers[0].Digest.Validate() != nil {
		t.Errorf("layers %+v", found.Layers)
	}
	if n := asked.count(""); n > 5 || asked.count("GET /v2/ray/manifests/") != 1 {
		t.Errorf("%d requests %v, want one manifest GET and at most 5 in all", n, asked.list)
	}
	t.Run("an index has its own annotations", func(t *testing.T) {
		push(t, host+"/ray:multi", index(t))
		found, ok, err := client(Options{}).Head(t.Context(), host+"/ray:multi")
		if err != nil || !ok || found.Annotations["dev.raybuild.graph"] != "sha256:index" {
			t.Errorf("found %+v, %v, %v", found, ok, err)
		}
	})
	for _, ref := range []string{host + "/ray:other", host + "/nothing/here"} {
		t.Run("absent "+ref[len(host):], func(t *testing.T) {
			if _, ok, err := client(Options{}).Head(t.Context(), ref); ok || err != nil {
				t.Errorf("Head: %v, %v, want absent without an error", ok, err)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	all := push(t, host+"/ubuntu:22.04", index(t))
	one := push(t, host+"/single", image(t, amd64(), nil))
	c := client(Options{})
	manifests := map[digest.Digest]bool{}
	for _, arch := range []string{"amd64", "arm64"} {
		pinned, err := c.Resolve(t.Context(), host+"/ubuntu:22.04", linux(arch))
		if err != nil {
			t.Fatal(err)
		}
		if pinned.Ref != host+"/ubuntu:22.04@"+all || string(pinned.Digest) != all ||
			!strings.Contains(string(pinned.Config), `"architecture":"`+arch+`"`) {
			t.Errorf("%s: %+v", arch, pinned)
		}
		manifests[pinned.Manifest] = true
		again, err := c.Resolve(t.Context(), pinned.Ref, linux(arch))
		if err != nil || again.Ref != pinned.Ref || again.Manifest != pinned.Manifest {
			t.Errorf("a pinned reference: %+v, %v, want %+v", again, err, pinned)
		}
	}
	if len(manifests) != 2 {
		t.Errorf("two platforms have manifests %v", manifests)
	}
	if pinned, err := c.Resolve(t.Context(), host+"/single", linux("amd64")); err != nil ||
		string(pinned.Manifest) != one {
		t.Errorf("a single image: %+v, %v", pinned, err)
	}
	for _, name := range []string{"ubuntu:22.04", "single"} {
		_, err := c.Resolve(t.Context(), host+"/"+name, linux("riscv64"))
		var missing *platformError
		if !errors.As(err, &missing) || !slices.Contains(missing.Has, "linux/amd64") ||
			slices.Contains(missing.Has, "unknown/unknown") {
			t.Errorf("%s for riscv64: %v", name, err)
		}
	}
}

func TestTag(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	for _, what := range []struct {
		name string
		push remote.Taggable
	}{{"image", image(t, amd64(), nil)}, {"index", index(t)}} {
		t.Run(what.name, func(t *testing.T) {
			d := push(t, host+"/ray:1", what.push)
			asked.reset()
			other := host + "/other/" + what.name + ":2"
			if err := client(Options{}).Tag(t.Context(), host+"/ray@"+d, host+"/ray:2", other,
				host+"/ray:3"); err != nil {
				t.Fatal(err)
			}
			if n := asked.count("PUT /v2/ray/manifests/"); n != 2 {
				t.Errorf("%d PUTs in the same repository, want 2: %v", n, asked.list)
			}
			if n := asked.count("PATCH"); n != 0 {
				t.Errorf("%d chunks sent, want blobs mounted: %v", n, asked.list)
			}
			for _, ref := range []string{host + "/ray:2", host + "/ray:3", other} {
				found, ok, err := client(Options{}).Head(t.Context(), ref)
				if err != nil || !ok || string(found.Digest) != d {
					t.Errorf("%s: %+v, %v, %v, want %s", ref, found, ok, err, d)
				}
				if err := client(Options{}).Validate(t.Context(), ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("another registry", func(t *testing.T) {
		elsewhere, _ := start(t, nil)
		if err := client(Options{}).Tag(t.Context(), host+"/ray:1", elsewhere+"/copy:1"); err != nil {
			t.Fatal(err)
		}
		if err := client(Options{}).Validate(t.Context(), elsewhere+"/copy:1"); err != nil {
			t.Error(err)
		}
	})
}

func TestInspect(t *testing.T) {
	t.Parallel()
	host, _ := start(t, nil)
	annotations := map[string]string{
		"org.opencontainers.image.base.name":   "docker.io/library/ubuntu:22.04",
		"org.opencontainers.image.base.digest": "sha256:base",
	}
	img := image(t, amd64(), annotations)
	d := push(t, host+"/ray:1", img)
	got, err := client(Options{}).Inspect(t.Context(), host+"/ray:1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Ref != host+"/ray@"+d || len(got.Platforms) != 1 || !maps.Equal(got.Annotations, annotations) {
		t.Fatalf("got %+v", got)
	}
	one := got.Platforms[0]
	if one.BaseName != "docker.io/library/ubuntu:22.04" || one.BaseDigest != "sha256:base" ||
		one.Config.User != "1000:1000" {
		t.Errorf("got %+v", one)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Layers) != 2 || one.Size != manifest.Config.Size+manifest.Layers[0].Size+manifest.Layers[1].Size {
		t.Fatalf("layers %+v of size %d", one.Layers, one.Size)
	}
	if l := one.Layers[1]; l.History != "[ray] install ray 2.52.0" ||
		l.Digest.String() != manifest.Layers[1].Digest.String() || l.DiffID == "" {
		t.Errorf("layer %+v", l)
	}
	push(t, host+"/ray:multi", index(t))
	multi, err := client(Options{}).Inspect(t.Context(), host+"/ray:multi")
	if err != nil || len(multi.Platforms) != 2 || multi.Platforms[1].Platform.Architecture != "arm64" {
		t.Errorf("index: %+v, %v", multi.Platforms, err)
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	img := image(t, amd64(), nil)
	push(t, host+"/ray:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	there, absent := digest.Digest(manifest.Layers[0].Digest.String()), digest.FromString("absent")
	asked.reset()
	has, err := client(Options{}).Has(t.Context(), host+"/ray:2", there, absent)
	if err != nil || !has[there] || has[absent] || len(has) != 2 {
		t.Errorf("has %v, %v", has, err)
	}
	if asked.count("HEAD /v2/ray/blobs/") != 2 || asked.count("GET /v2/ray") != 0 {
		t.Errorf("requests %v, want HEADs alone", asked.list)
	}
	if _, err := client(Options{}).Has(t.Context(), host+"/ray", "sha256:../x"); err == nil {
		t.Error("a broken digest was asked for")
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	for what, handler := range map[string]http.Handler{
		"this registry": nil,
		"no referrers API": libregistry.New(libregistry.WithReferrersSupport(false),
			libregistry.Logger(log.New(io.Discard, "", 0))),
		"referrers by config type": libregistry.New(libregistry.WithReferrersSupport(true),
			libregistry.Logger(log.New(io.Discard, "", 0))),
	} {
		t.Run(what, func(t *testing.T) {
			var host string
			if handler == nil {
				host, _ = start(t, nil)
			} else {
				host, _ = serveHandler(t, handler, nil)
			}
			push(t, host+"/ray:1", image(t, amd64(), nil))
			ctx, c := t.Context(), client(Options{})
			if none, err := c.Attached(ctx, host+"/ray:1", lockType); err != nil || len(none) != 0 {
				t.Fatalf("attached before: %v, %v", none, err)
			}
			lock := Document{ArtifactType: lockType, Data: []byte("version: 1\n")}
			first, err := c.Attach(ctx, host+"/ray:1", lock)
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.Attach(ctx, host+"/ray:1", Document{ArtifactType: "application/vnd.other",
				MediaType: "text/plain", Data: []byte("other")}, lock)
			if err != nil || len(again) != 2 || again[1] != first[0] {
				t.Errorf("again, after another one: %s, %v, want %s", again, err, first)
			}
			got, err := c.Attached(ctx, host+"/ray:1", lockType)
			if err != nil || len(got) != 1 || string(got[0].Data) != "version: 1\n" || got[0].MediaType != lockType {
				t.Errorf("attached %+v, %v", got, err)
			}
		})
	}
}

func TestValidateFindsDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	handler, unlock, err := openServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	host, _ := serveHandler(t, handler, nil)
	img := image(t, amd64(), nil)
	push(t, host+"/ray:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(dir, "blobs", "sha256", manifest.Layers[0].Digest.Hex)
	data, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(layer, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := client(Options{}).Validate(t.Context(), host+"/ray:1"); err == nil {
		t.Error("an image with a damaged layer is valid")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x").String()
	for ref, want := range map[string][2]string{
		"ray":                           {"docker.io", "ray@" + d},
		"team/ray:1":                    {"docker.io", "team/ray@" + d},
		"docker.io/library/ray":         {"docker.io", "ray@" + d},
		"127.0.0.1:5000/ray:1":          {"127.0.0.1:5000", "127.0.0.1:5000/ray@" + d},
		"[::1]:5000/ray":                {"[::1]:5000", "[::1]:5000/ray@" + d},
		"localhost/a/b@" + d:            {"localhost", "localhost/a/b@" + d},
		"registry.example/team/ray:1-2": {"registry.example", "registry.example/team/ray@" + d},
	} {
		host, err := Host(ref)
		pinned, perr := Pin(ref, d)
		if err != nil || perr != nil || host != want[0] || pinned != want[1] {
			t.Errorf("%s: host %q, pinned %q, %v, %v, want %v", ref, host, pinned, err, perr, want)
		}
	}
	for host, want := range map[string]bool{
		"localhost": true, "a.localhost": true, "127.0.0.1": true, "127.9.8.7": true, "::1": true, "[::1]": true,
		"10.0.0.1": false, "registry.example": false, "localhost.example": false, "": false,
	} {
		if Loopback(host) != want {
			t.Errorf("Loopback(%q) = %v", host, !want)
		}
	}
}

// What CanPush opened, it gives up again.
func TestCanPushLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	handler, unlock, err := openServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	host, _ := serveHandler(t, handler, nil)
	if err := client(Options{}).CanPush(t.Context(), host+"/ray"); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads left: %v, %v", left, err)
	}
}
