package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// remedyError is a registry's refusal with its cause and the next step.
type remedyError struct {
	at     docker.Target // the host
	remedy string
	err    error // what the Engine said
}

func (e *remedyError) Error() string {
	text := e.err.Error()
	if errors.Is(e.err, context.DeadlineExceeded) { // the Engine's own remedy is another one
		text = fmt.Sprintf("no answer within %s", engineLimit)
	} else if _, words, ok := strings.Cut(text, "Error response from daemon: "); ok {
		text = fmt.Sprintf("the Engine of %s says: %s", e.at, words) // before them the image is named again
	}
	return fmt.Sprintf("%s (%s)", e.remedy, text)
}

// Unwrap returns what the Engine said.
func (e *remedyError) Unwrap() error { return e.err }

// explainPull says what to do when the Engine of a host cannot get an image. Registries answer a lack of rights in
// several words, and some answer so for an image that is not there.
func explainPull(at docker.Target, ref string, err error) error {
	if err == nil {
		return nil
	}
	if remedy := remedyFor(at, registryOf(ref), err); remedy != "" {
		return &remedyError{at, remedy, err}
	}
	return err
}

// remedyFor knows the causes by the words of Docker, containerd and podman; empty: it is another cause.
func remedyFor(at docker.Target, registry string, err error) string {
	text := strings.ToLower(err.Error())
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	refused := says("dial tcp") && says("connection refused")
	// For an image, podman and Docker say "manifest unknown", containerd says "not found". A call that an Engine does
	// not know has the status 404, too.
	missing := says("manifest unknown", "name unknown", "repository does not exist") ||
		docker.IsNotFound(err) && says("manifest for", "failed to resolve reference")
	switch {
	case (refused || missing) && !at.Local && onlyHere(registry):
		return fmt.Sprintf("%s is an address of this machine only, and %s looks for it on itself: push the image to "+
			"a registry that the hosts reach, and name that one in image:; to start one: raybuild registry serve "+
			"ADDRESS:5000", registry, at)
	case says("unauthorized", "no basic auth credentials", "authentication required", "access denied", "is denied"):
		return fmt.Sprintf("%s refuses access: raybuild sends this machine's credentials with each pull: docker "+
			"login %s, here, and run again", registry, registry)
	case says("server gave http response to https client"):
		return fmt.Sprintf("%s speaks plain HTTP, and a Docker Engine refuses that by default: write "+
			"{\"insecure-registries\": [%q]} into /etc/docker/daemon.json on the host (if it has other keys, add "+
			"this one to them), then there: systemctl reload docker; Podman: insecure = true below [[registry]] in "+
			"/etc/containers/registries.conf", registry, registry)
	case says("x509:", "tls: failed to verify certificate"):
		return certificateRemedy(at, registry, says)
	case missing:
		return fmt.Sprintf("%s has no such image: build and push it, or correct its name in cluster.yaml", registry)
	case refused:
		return fmt.Sprintf("%s refuses connections from %s: check the port in image:, and that the registry runs",
			registry, at)
	case errors.Is(err, context.DeadlineExceeded), says("no such host", "server misbehaving",
		"temporary failure in name resolution", "no route to host", "network is unreachable"),
		says("dial tcp", "/v2/") && says("i/o timeout", "client.timeout", "request canceled while waiting"):
		return fmt.Sprintf("%s cannot find or reach registry %s: check the spelling of image: in cluster.yaml, then "+
			"the host's DNS and network", at, registry)
	}
	return ""
}

// certificateRemedy says what to do when the Engine of a host does not take a registry's certificate.
func certificateRemedy(at docker.Target, registry string, says func(words ...string) bool) string {
	switch {
	case says("certificate is valid for", "doesn't contain any ip sans", "not valid for any names"):
		return fmt.Sprintf("the certificate of %s is for other names: write one of them in image:, or have the "+
			"certificate made for this one", registry)
	case says("has expired or is not yet valid"):
		return fmt.Sprintf("the certificate of %s is not valid at the time of %s: renew it, or set that host's clock",
			registry, at)
	}
	return fmt.Sprintf("%s has a certificate that %s does not trust: copy the certificate of its authority to "+
		"/etc/docker/certs.d/%s/ca.crt on that host (Podman: /etc/containers/certs.d), and run again", registry, at,
		registry)
}

// onlyHere tells whether the address of a registry means the machine itself, on each machine another one.
func onlyHere(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && a.IsLoopback()
}
