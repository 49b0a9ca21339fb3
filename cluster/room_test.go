package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/docker/enginetest"
)

const mb = 1 << 20

func TestRoomForAnImage(t *testing.T) {
	t.Parallel()
	layers := []ImageLayer{{"a", 100 * mb}, {"b", 200 * mb}, {"c", 100 * mb}}
	tests := []struct {
		name       string
		there      [][]string
		counted    int64
		compressed int64
		unpacked   int64
		kept       int
		estimated  bool
	}{
		{"an empty host, and an Engine has counted the image", nil, 1000 * mb, 400 * mb, 1000 * mb, 0, false},
		{"an empty host, and nobody has counted it", nil, 0, 400 * mb, 1080 * mb, 0, true},
		{"a host with the lowest layers", [][]string{{"x", "b"}, {"a", "b", "d"}, {"a"}}, 1000 * mb, 100 * mb,
			250 * mb, 2, true},
		{"the same layer above another one is kept apart", [][]string{{"b", "c"}}, 1000 * mb, 400 * mb,
			1000 * mb, 0, false},
		{"a host with all layers", [][]string{{"a", "b", "c"}}, 1000 * mb, 0, 0, 3, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := roomFor(layers, tt.there, tt.counted)
			if got.compressed != tt.compressed || got.unpacked>>20 != tt.unpacked>>20 || got.kept != tt.kept ||
				got.estimated != tt.estimated {
				t.Errorf("got %+v", got)
			}
		})
	}
	if s := roomFor(layers, [][]string{{"a"}}, 0).String(); s != "300 MiB compressed and 810 MiB unpacked, which is "+
		"an estimate, without the 1 layer that it has" {
		t.Error(s)
	}
}

// sized is a registry that knows how large an image's layers are.
type sized struct{ bytes int64 }

func (s sized) Facts(_ context.Context, ref string) (ImageFacts, error) {
	_, digest := splitDigest(ref)
	return ImageFacts{Ref: ref, Digest: digest, RayVersion: "2.52.0", Arch: []string{"amd64"},
			Layers: map[string][]ImageLayer{"amd64": {{"sha256:base", s.bytes / 4},
				{"sha256:ray", s.bytes - s.bytes/4}}}},
		nil
}

func TestHostsWithoutRoomAreNamedBeforeThePull(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	spec := f.spec(t, fleetImage, 3)
	o := f.options()
	var log strings.Builder
	o.Log, o.Images = &log, sized{1000 * mb}
	f.free.Store(2000 * mb)
	f.engines[2].Images[fleetImage] = f.engines[2].Registry[fleetImage] // it needs nothing
	_, err := Up(t.Context(), spec, o)
	want := fmt.Sprintf("/var/lib/docker has 2000 MiB free, and the image needs 3700 MiB there (1000 MiB compressed "+
		"and 2700 MiB unpacked, which is an estimate); docker system df shows %d MiB to free there (images %d MiB): "+
		"docker system prune --all", enginetest.Unused>>20, enginetest.Unused>>20)
	if err == nil || strings.Count(err.Error(), want) != 2 || strings.Contains(err.Error(), spec.Workers[1].Host.ID()) {
		t.Errorf("the error does not name the two hosts that lack room, and what they need: %v", err)
	}
	for i, e := range f.engines {
		if n := e.Calls()["POST /images/create"]; n > 0 || e.Left() > 0 {
			t.Errorf("host %d: %d pulls, and %d things left", i, n, e.Left())
		}
	}
	for _, e := range f.engines[:2] { // an older image with the same lowest layer
		e.Images[fleetImage2], e.Layers = e.Registry[fleetImage2],
			map[string][]string{fleetImage2: {"sha256:base", "sha256:old"}}
	}
	log.Reset()
	if s, err := Up(t.Context(), spec, o); err == nil ||
		!strings.Contains(err.Error(), "needs 2775 MiB there (750 MiB compressed and 2025 MiB unpacked, which is an "+
			"estimate, without the 1 layer") {
		t.Errorf("a host that has a layer: %v, %v", s, err)
	}
	f.free.Store(2100 * mb)
	s, err := Up(t.Context(), spec, o)
	if err != nil || !s.Healthy {
		t.Fatalf("an estimate that may just do is no refusal: %v, %v", s, err)
	}
	if n := strings.Count(log.String(), "warning: /var/lib/docker has 2100 MiB free, and the image needs about 2775 "+
		"MiB there while it is pulled"); n != 2 {
		t.Errorf("%d hosts are warned of, want 2:\n%s", n, log.String())
	}
	if n := strings.Count(log.String(), fmt.Sprintf("pulled %d MiB (1 MiB unpacked) in ",
		enginetest.Pulled>>20)); n != 2 {
		t.Errorf("%d hosts say what came over the wire and what that is unpacked, want 2:\n%s", n, log.String())
	}
}

func TestPullOverPlainHTTPNamesTheLineForTheEngine(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.engines[1].Refusal = `Get "https://registry.example/v2/": http: server gave HTTP response to HTTPS client`
	_, err := Up(t.Context(), f.spec(t, fleetImage, 2), f.options())
	for _, want := range []string{`"insecure-registries": ["registry.example"]`, "/etc/docker/daemon.json",
		"systemctl reload docker", f.spec(t, fleetImage, 2).Workers[0].Host.ID()} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}
