package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/docker"
)

// fromHere is what this machine's own question to the registry gives.
type fromHere struct {
	facts ImageFacts
	err   error
}

func (f fromHere) Facts(context.Context, string) (ImageFacts, error) { return f.facts, f.err }

// TestRegistryTroubleHasOneRemedy: of two causes for one fault, one is wrong.
func TestRegistryTroubleHasOneRemedy(t *testing.T) {
	t.Parallel()
	_, digest := splitDigest(fleetImage)
	plain := errors.New("registry 10.0.0.1:5000 has no HTTPS: name it with --insecure-registry 10.0.0.1:5000")
	found := ImageFacts{Ref: "127.0.0.1:44401/ray@" + digest, Digest: digest, RayVersion: "2.52.0",
		Arch: []string{"amd64"}}
	refused := `Get "http://127.0.0.1:44401/v2/": dial tcp 127.0.0.1:44401: connect: connection refused`
	for name, tt := range map[string]struct {
		image, refusal string
		here           fromHere
		want           string
		not            []string
	}{
		"a misspelt image over plain HTTP": {"10.0.0.1:5000/rya:1", "", fromHere{err: plain},
			"10.0.0.1:5000 has no such image: build and push it", []string{"--insecure-registry"}},
		"an Engine that refuses plain HTTP": {"10.0.0.1:5000/ray:1",
			`Get "https://10.0.0.1:5000/v2/": http: server gave HTTP response to HTTPS client`, fromHere{err: plain},
			`write {"insecure-registries": ["10.0.0.1:5000"]} into /etc/docker/daemon.json`,
			[]string{"--insecure-registry"}},
		"a certificate of an authority that the Engine does not know": {"10.0.0.1:5000/ray:1",
			`Get "https://10.0.0.1:5000/v2/": tls: failed to verify certificate: x509: certificate signed by unknown ` +
				`authority`, fromHere{err: plain}, "to /etc/docker/certs.d/10.0.0.1:5000/ca.crt on that host",
			[]string{"--insecure-registry", "insecure-registries"}},
		"a certificate without the address": {"10.0.0.1:5000/ray:1",
			`Get "https://10.0.0.1:5000/v2/": tls: failed to verify certificate: x509: cannot validate certificate ` +
				`for 10.0.0.1 because it doesn't contain any IP SANs`, fromHere{err: plain}, "is for other names",
			[]string{"--insecure-registry", "certs.d"}},
		"a certificate that has expired": {"10.0.0.1:5000/ray:1",
			`Get "https://10.0.0.1:5000/v2/": x509: certificate has expired or is not yet valid: current time ` +
				`2026-12-01T00:00:00Z is after 2026-11-01T00:00:00Z`, fromHere{err: plain}, "set that host's clock",
			[]string{"--insecure-registry", "certs.d"}},
		"a registry on this machine's loopback": {"127.0.0.1:44401/ray:1", refused, fromHere{facts: found},
			"127.0.0.1:44401 is an address of this machine only", nil},
		"the same, by digest": {"127.0.0.1:44401/ray@" + digest, refused, fromHere{facts: found},
			"raybuild registry serve ADDRESS:5000", nil},
		"another registry on the host's loopback": {"localhost:5000/ray:1", "", fromHere{err: plain},
			"localhost:5000 is an address of this machine only", []string{"no such image", "--insecure-registry"}},
		"a registry whose name is misspelt": {"registry.exmaple/ray:1",
			`Get "https://registry.exmaple/v2/": dial tcp: lookup registry.exmaple on 127.0.0.53:53: no such host`,
			fromHere{err: errors.New("registry registry.exmaple: no address for host")},
			"cannot find or reach registry registry.exmaple: check the spelling of image:",
			[]string{"no address for host"}},
		"a cause that nobody knows": {"registry.example/ray:1", "the disk is on fire", fromHere{err: plain},
			"--insecure-registry", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			for _, e := range f.engines {
				e.Refusal = tt.refusal
			}
			o := f.options()
			o.Images = tt.here
			_, err := Up(t.Context(), f.spec(t, tt.image, 2), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("up does not say %q: %v", tt.want, err)
			}
			for _, not := range tt.not {
				if err != nil && strings.Contains(err.Error(), not) {
					t.Errorf("up says %q, too: %v", not, err)
				}
			}
		})
	}
}

// TestLoopbackRegistryOfImagesThatAreThere: a tunnel may have brought the image to the hosts.
func TestLoopbackRegistryOfImagesThatAreThere(t *testing.T) {
	t.Parallel()
	_, digest := splitDigest(fleetImage)
	ref := "127.0.0.1:44401/ray@" + digest
	f := newFleet(t, 2)
	for _, e := range f.engines {
		e.Refusal = "dial tcp 127.0.0.1:44401: connect: connection refused"
		e.Images[ref] = map[string]string{imageRay: "2.52.0"}
	}
	o := f.options()
	o.Images = fromHere{facts: ImageFacts{Ref: ref, Digest: digest, RayVersion: "2.52.0"}}
	if s, err := Up(t.Context(), f.spec(t, "127.0.0.1:44401/ray:1", 2), o); err != nil || !s.Healthy {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRemedies(t *testing.T) {
	t.Parallel()
	host, here := docker.Target{User: "root", Address: "vm"}, docker.Target{Local: true}
	slow := fmt.Errorf("resolve image: %w", context.DeadlineExceeded)
	for name, tt := range map[string]struct {
		at       docker.Target
		registry string
		err      error
		want     string // empty: no remedy is known
	}{
		"an Engine that asks the registry for too long": {host, "registry.exmaple", slow,
			"ssh://root@vm cannot find or reach registry registry.exmaple"},
		"a registry that is off": {host, "10.0.0.1:5000",
			errors.New("dial tcp 10.0.0.1:5000: connect: connection refused"), "check the port in image:"},
		"loopback of this machine": {here, "127.0.0.1:5000",
			errors.New("dial tcp 127.0.0.1:5000: connect: connection refused"), "check the port in image:"},
		"IPv6 loopback": {host, "[::1]:5000", errors.New("dial tcp [::1]:5000: connect: connection refused"),
			"[::1]:5000 is an address of this machine only"},
		"an Engine that is off": {host, "127.0.0.1:5000",
			errors.New("ssh: rejected: connect failed (Connection refused)"), ""},
	} {
		got := remedyFor(tt.at, tt.registry, tt.err)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	want := "the host's DNS and network (no answer within 13s)"
	if err := explainPull(host, "registry.exmaple/ray:1", slow); !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
