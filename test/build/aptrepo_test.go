package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
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
		time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), sha256.Sum256([]byte(packages)), len(packages))
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(release)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"/InRelease": signed.Bytes(), "/Packages": []byte(packages), "/own-deb_1.0_all.deb": deb}
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
