package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ownDeb is a Debian package (deb(5)) with one file.
func ownDeb(t *testing.T) []byte {
	t.Helper()
	packed := func(name, text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		h := &tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644, Format: tar.FormatGNU,
			ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, member := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar.gz", packed("./control", ownControl)},
		{"data.tar.gz", packed("./usr/share/own-deb", "hello\n")},
	} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, 0, 0, 0, "100644", len(member.data))
		b.Write(member.data)
		if len(member.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

const ownControl = "Package: own-deb\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\n" +
	"Description: a package of a test's own repository\n"

// newKey is an OpenPGP key.
func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Test", "", "test@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// public is a key as a recipe's directory holds it.
func public(t *testing.T, key *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// ownRepository serves a flat repository that key signs.
func ownRepository(t *testing.T, key *openpgp.Entity) string {
	t.Helper()
	deb := ownDeb(t)
	packages := fmt.Sprintf("%sFilename: ./own-deb_1.0_all.deb\nSize: %d\n"+
		"SHA256: %x\n\n", ownControl, len(deb), sha256.Sum256(deb))
	release := fmt.Sprintf("Origin: test\nDate: %s\nSHA256:\n %x %d Packages\n",
		aptTime(time.Now()), sha256.Sum256([]byte(packages)), len(packages))
	return serveFiles(t, map[string][]byte{"/InRelease": signedBy(t, key, release), "/Packages": []byte(packages),
		"/own-deb_1.0_all.deb": deb})
}

// aptTime is a time as a Release file has it.
func aptTime(at time.Time) string { return at.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }

// signedBy is a text with its signature.
func signedBy(t *testing.T, key *openpgp.Entity, text string) []byte {
	t.Helper()
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return signed.Bytes()
}

// serveFiles serves a repository's files.
func serveFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := files[strings.ReplaceAll(r.URL.Path, "/./", "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestM2UnsignedRepositoryIsRefused: a base allows what is not signed, as apt-get before 1.5 does by itself, and a
// mirror takes the signature away.
func TestM2UnsignedRepositoryIsRefused(t *testing.T) {
	h := warmHome(t)
	key := newKey(t)
	signed, err := url.Parse(ownRepository(t, key))
	if err != nil {
		t.Fatal(err)
	}
	behind := httputil.NewSingleHostReverseProxy(signed)
	stripped := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "InRelease") || strings.HasSuffix(r.URL.Path, "Release.gpg") {
			http.NotFound(w, r)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(stripped.Close)
	h.write("key.asc", public(t, key))
	base := baseWith(t, "etc/apt/apt.conf.d/99insecure", `APT::Get::AllowUnauthenticated "true";
Acquire::AllowInsecureRepositories "true";
Acquire::AllowWeakRepositories "true";
Binary::apt-get::Acquire::AllowInsecureRepositories "true";
`)
	h.write("raybuild.yaml", strings.NewReplacer("base: "+testEnv.Base, "base: "+base, "apt: [less]",
		fmt.Sprintf("apt: {packages: [less, own-deb], repositories: [{url: %q, suite: ./, key: key.asc}]}",
			stripped.URL)).Replace(shortRecipe()))
	h.refused(1, []string{"resolve layer \"apt\"", "does not have a Release file"}, "lock")
	if strings.Contains(h.read("raybuild.lock"), "own-deb") {
		t.Error("the lock has a package that nobody signed")
	}
}

// baseWith pushes the world's base with a file more.
func baseWith(t *testing.T, file, text string) string {
	t.Helper()
	return baseWithAll(t, filepath.Base(file), map[string]string{file: text})
}

// baseWithAll pushes the world's base with other files.
func baseWithAll(t *testing.T, tag string, files map[string]string) string {
	t.Helper()
	from, err := name.ParseReference(testEnv.Base)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(from, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(files[file]))}))
		if err == nil {
			_, err = w.Write([]byte(files[file]))
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	image, err = mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(from.Context().Name() + ":with-" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// A further apt repository is used with the key that signs it, and with no other.
func TestOwnAptRepository(t *testing.T) {
	h := warmHome(t)
	key := newKey(t)
	at := ownRepository(t, key)
	h.write("right.asc", public(t, key))
	h.write("wrong.asc", public(t, newKey(t)))
	recipe := func(file string) string {
		return strings.Replace(shortRecipe(), "apt: [less]",
			fmt.Sprintf("apt: {packages: [less, own-deb], repositories: [{url: %q, suite: ./, key: %s}]}", at, file), 1)
	}
	dst := ref(t, "1")
	h.write("raybuild.yaml", recipe("wrong.asc"))
	h.refused(1, []string{strings.TrimPrefix(at, "http://"), "NO_PUBKEY"}, "--push", dst)
	nothingWritten(t, h, warm.lock, dst)
	h.write("raybuild.yaml", recipe("right.asc"))
	h.push(dst)
	root := unpack(t, pull(t, dst))
	if data, err := os.ReadFile(filepath.Join(root, "usr/share/own-deb")); err != nil || string(data) != "hello\n" {
		t.Errorf("the package of the own repository is not there: %q, %v", data, err)
	}
	if got := h.read("raybuild.lock"); !strings.Contains(got, "own-deb") {
		t.Error("the lock does not name the package")
	}
}

// TestCase25DebianPastItsEnd installs from a release that gets no updates any more: its lists are signed, say that
// their day has passed, and its suite of updates is gone. A release that still gets updates is refused for the same.
func TestCase25DebianPastItsEnd(t *testing.T) {
	h := warmHome(t)
	key, deb := newKey(t), ownDeb(t)
	packages := fmt.Sprintf("%sFilename: pool/own-deb_1.0_all.deb\nSize: %d\nSHA256: %x\n\n", ownControl, len(deb),
		sha256.Sum256(deb))
	sum := sha256.Sum256([]byte(packages))
	release := fmt.Sprintf("Origin: test\nSuite: oldoldstable\nCodename: buster\nComponents: main\n"+
		"Architectures: amd64\nDate: %s\nValid-Until: %s\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		aptTime(time.Now().AddDate(-1, 0, 0)), aptTime(time.Now().AddDate(-1, 0, 7)), sum, len(packages))
	at := serveFiles(t, map[string][]byte{"/debian/dists/buster/InRelease": signedBy(t, key, release),
		"/debian/dists/buster/main/binary-amd64/Packages": []byte(packages), "/debian/pool/own-deb_1.0_all.deb": deb})
	old := func(version string) string {
		return baseWithAll(t, "debian-"+version, map[string]string{
			"usr/lib/os-release": fmt.Sprintf("ID=debian\nVERSION_ID=%q\nVERSION_CODENAME=buster\n", version),
			"etc/apt/sources.list": fmt.Sprintf("deb %[1]s/debian buster main\n"+
				"deb %[1]s/debian buster-updates main\n", at),
			"etc/apt/sources.list.d/debian.sources": "",
			"etc/apt/trusted.gpg.d/test.asc":        public(t, key),
		})
	}
	recipe := func(version string) string {
		return strings.NewReplacer("base: "+testEnv.Base, "base: "+old(version), "apt: [less]", "apt: [own-deb]").
			Replace(shortRecipe())
	}
	h.write("raybuild.yaml", recipe("12"))
	h.refused(1, []string{"resolve layer \"apt\""}, "lock")
	h.write("raybuild.yaml", recipe("10"))
	out := h.push(ref(t, "1"), "--graph-tag=false")
	if !strings.Contains(out.stderr, "Debian 10 is past its end") {
		t.Errorf("the lock does not say that the base gets no updates:\n%s", tail(out.stderr, 30))
	}
	if got := h.read("raybuild.lock"); !strings.Contains(got, "own-deb") {
		t.Error("the lock does not name the package")
	}
}
