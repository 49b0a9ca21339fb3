package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// aptBase pushes the world's base with the world's mirror as its apt source, so that a step with a network installs
// from there.
func aptBase(t *testing.T, ref string) v1.Image {
	t.Helper()
	sources := fmt.Sprintf("Types: deb\nURIs: %[1]s\nSuites: bookworm bookworm-updates\nComponents: main\n\n"+
		"Types: deb\nURIs: %[1]s-security\nSuites: bookworm-security\nComponents: main\n",
		offLoopback(t, testEnv.A.Apt))
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "etc/apt/sources.list.d/debian.sources", Mode: 0o644, Size: int64(len(sources))}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(sources)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(pull(t, testEnv.Base), layer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, image); err != nil {
		t.Fatal(err)
	}
	return image
}

// offLoopback is a URL of this machine's loopback as steps with a network reach it.
func offLoopback(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(testneeds.OutsideAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	relay := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host}))
	relay.Listener = ln
	relay.Start()
	t.Cleanup(relay.Close)
	return relay.URL + u.Path
}

// The image of raybuild itself (make image) stands on its base, runs raybuild, and has what raybuild runs.
func TestSelfImage(t *testing.T) {
	h := newHome(t)
	base, dst := ref(t, "base"), ref(t, "v0.0.1")
	below := aptBase(t, base)
	build := func() string {
		cmd := exec.Command("go", "run", "github.com/raybuild/raybuild/internal/selfimage", "--base", base,
			"--program", program, "--docs", "../../LICENSE", "--version", "v0.0.1", "--revision", "deee213", dst)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), // has the engine
			"RAYBUILD_HOME="+h.dir, "BUILDKIT_HOST=", "BUILDX_BUILDER=")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("selfimage: %v\n%s", err, tail(stderr.String(), 40))
		}
		return strings.TrimSpace(string(out))
	}
	first := build()
	if again := build(); again != first || !strings.HasPrefix(first, dst+"@sha256:") {
		t.Errorf("two builds gave %q and %q", first, again)
	}
	image := pull(t, first)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if under, err := below.Layers(); err != nil || len(layers) != len(under)+2 {
		t.Errorf("%d layers on a base of %d (%v), want the packages and raybuild on it", len(layers), len(under), err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "org.opencontainers.image."
	if l := config.Config.Labels; l[prefix+"revision"] != "deee213" || l[prefix+"base.name"] != base {
		t.Errorf("labels: %v", l)
	}
	if e := config.Config.Entrypoint; len(e) != 1 || e[0] != "/usr/local/bin/raybuild" {
		t.Errorf("entrypoint: %v", e)
	}
	for what, said := range inContainer(t, first, map[string]string{
		"raybuild runs":                "raybuild version && raybuild version --json | grep -q '\"buildkit\": \"v'",
		"runc runs":                    "runc --version",
		"an SSH client runs":           "ssh -V",
		"certificates are there":       "test -s /etc/ssl/certs/ca-certificates.crt",
		"anyone may keep state":        "test \"$(stat -c %a:%U \"$RAYBUILD_HOME\")\" = 1777:root",
		"the licence is there":         "grep -q 'Apache License' /usr/share/doc/raybuild/LICENSE",
		"apt's lists are left out":     "test -z \"$(find /var/lib/apt/lists /var/cache/apt -type f -size +0)\"",
		"the working directory exists": "test \"$(pwd)\" = /work",
	}) {
		t.Errorf("%s: not so:\n%s", what, said)
	}
}
