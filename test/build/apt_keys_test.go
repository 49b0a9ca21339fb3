package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestCase23AnswersAndKeys installs packages that ask something, and packages whose scripts make keys and ids. The
// image has the answers and no private key, and a second build has its digest. Sibling of both: what packages bring
// themselves stays.
func TestCase23AnswersAndKeys(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", strings.Replace(shortRecipe(), "apt: [less]", `apt:
  packages: [less, krb5-config, openssh-server, ssl-cert, munge, dbus, open-iscsi]
  debconf:
    - krb5-config krb5-config/default_realm string LAB.EXAMPLE
    - krb5-config krb5-config/add_servers boolean false`, 1))
	first := h.push(ref(t, "1"), "--graph-tag=false", "--reuse=false")
	if !strings.Contains(first.stderr, "removed /etc/ssh/ssh_host_rsa_key") {
		t.Errorf("the build does not say that it removes a key:\n%s", tail(first.stderr, 30))
	}
	again := h.push(ref(t, "2"), "--graph-tag=false", "--reuse=false", "--no-cache").meta
	if again.Digest != first.meta.Digest {
		t.Errorf("a second build gives %s, want %s\n%s", again.Digest, first.meta.Digest, differing(first.meta, again))
	}
	var realm string
	var names []string
	files := tar.NewReader(mutate.Extract(pull(t, ref(t, "1"))))
	for {
		f, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(f.Name)
		names = append(names, name)
		if f.Typeflag != tar.TypeReg || !strings.HasPrefix(name, "etc/") && !strings.HasPrefix(name, "var/lib/") {
			continue
		}
		data, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if name == "etc/krb5.conf" {
			realm = string(data)
		}
		if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
			t.Errorf("the image has the private key %s", name)
		}
	}
	if !strings.Contains(realm, "default_realm = LAB.EXAMPLE") {
		t.Errorf("/etc/krb5.conf has not the answer:\n%s", realm)
	}
	for _, gone := range []string{"etc/munge/munge.key", "etc/ssh/ssh_host_ed25519_key.pub", "var/lib/dbus/machine-id",
		"etc/ssl/certs/ssl-cert-snakeoil.pem"} {
		if slices.Contains(names, gone) {
			t.Errorf("the image has %s, which each build makes another one", gone)
		}
	}
	for _, stays := range []string{"etc/ssh/sshd_config", "usr/sbin/munged", "usr/bin/dbus-daemon"} {
		if !slices.Contains(names, stays) {
			t.Errorf("the image has no %s", stays)
		}
	}
}
