package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Error is a failed exchange with a registry. Its text names the reference, the host, the cause and the
// next step. It holds no credentials, and nothing that a registry sent back about them.
type Error struct {
	Op     string // what was to be done: "pin", "look up", "tag"
	Ref    string // the reference as the user wrote it
	Host   string // the registry, with port
	Status int    // HTTP status of the answer; 0: there was none
	Err    error  // the cause

	insecure bool // plain HTTP was allowed, so the next step is not to allow it
}

// opPush is the Op of a push and of the question whether one is allowed.
const opPush = "push to"

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %q: %s", e.Op, e.Ref, e.reason())
	var tried *triedError
	if errors.As(e.Err, &tried) {
		text += tried.tried()
	}
	return text
}

func (e *Error) reason() string {
	switch {
	case e.Op == opPush && immovable(e.Status, e.Err):
		return fmt.Sprintf("registry %s has another image under this tag, and does not let tags move (%s%s): push "+
			"under a new tag, or exclude this one from the registry's rule", e.Host, statusText(e.Status),
			diagnostics(e.Err))
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return fmt.Sprintf("registry %s refused access (%s): run %s, and check that the account may "+
			"use this repository",
			e.Host, statusText(e.Status), loginCommand(e.Host))
	case e.Status == http.StatusNotFound && e.Op == opPush:
		return fmt.Sprintf("registry %s has no such repository, and makes none by itself: %s", e.Host,
			makeRepository(e.Host, e.Ref))
	case e.Status == http.StatusNotFound:
		return fmt.Sprintf("registry %s has no such image: check name, tag and platform", e.Host)
	case e.Status != 0:
		next := "check the reference and the registry's log"
		switch {
		case badDigest(e.Err):
			next = "the sent bytes do not have their digest, so the builder's store or the way from there changed " +
				"them: run again; if it fails again, add --no-cache"
		case e.Status == http.StatusRequestEntityTooLarge:
			next = "it, or a proxy before it, limits the size of a request: raise that limit, or make layers smaller"
		case e.Status == http.StatusInsufficientStorage:
			next = "it has no room left: free some, or push elsewhere"
		case e.Status == http.StatusTooManyRequests && e.Host == DockerHub:
			next = hubLimits
		case e.Status >= 500 || e.Status == http.StatusTooManyRequests:
			next = "the registry is in trouble or limits requests: try again later"
		}
		return fmt.Sprintf("registry %s answered %s%s: %s", e.Host, statusText(e.Status), diagnostics(e.Err), next)
	}
	text := e.transportReason()
	if e.Host == DockerHub && e.unreachable() {
		text += "; where Docker Hub cannot be reached, name a mirror of it: mirrors: {fetch: [{registry: " +
			"https://MIRROR}, official]}"
	}
	return text
}

// unreachable tells whether there was no answer.
func (e *Error) unreachable() bool {
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	return errors.As(e.Err, &dns) || errors.Is(e.Err, syscall.ECONNREFUSED) || errors.Is(e.Err, syscall.ENETUNREACH) ||
		errors.Is(e.Err, syscall.EHOSTUNREACH) || errors.Is(e.Err, syscall.ECONNRESET) ||
		errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, os.ErrDeadlineExceeded) ||
		errors.As(e.Err, &timeout) && timeout.Timeout()
}

// DockerHub is the registry of references without a host.
const DockerHub = "docker.io"

const (
	// hubLimits are of https://docs.docker.com/docker-hub/usage/, read 2026-11; asking for a
	// manifest's digest does not count.
	hubLimits = "Docker Hub lets an address pull 100 images in 6 hours, and a free account 200: run \"docker " +
		"login\", wait, or name a mirror of the image"
)

// transportReason explains why there was no answer.
func (e *Error) transportReason() string {
	var (
		dns     *net.DNSError
		plain   *plainHTTPError
		unknown x509.UnknownAuthorityError
		named   x509.HostnameError
		invalid x509.CertificateInvalidError
		cert    *tls.CertificateVerificationError
		timeout net.Error
		short   *truncatedError
		from    *sourceError
	)
	switch {
	case errors.As(e.Err, &from) && !errors.Is(e.Err, context.Canceled):
		return clean(from.Error()) + ": the builder, or another source of it, does not give it: check that, " +
			"and run again: what arrived is kept"
	case errors.Is(e.Err, context.Canceled):
		return "interrupted"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("registry %s: connection refused: check the address, and that the registry runs there",
			e.Host)
	case errors.As(e.Err, &dns):
		return fmt.Sprintf("registry %s: no address for host %q: check the name, or the network", e.Host, dns.Name)
	case errors.As(e.Err, &named):
		return fmt.Sprintf("registry %s: its certificate is for other names (%s): write one of them, have the "+
			"certificate made for this one, or allow it with --insecure-registry %s", e.Host, clean(named.Error()),
			e.Host)
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("registry %s: its certificate is not valid now (%s): renew it, or set the clock", e.Host,
			clean(invalid.Error()))
	case errors.As(e.Err, &unknown), errors.As(e.Err, &cert):
		return fmt.Sprintf("registry %s: its certificate is not trusted (%s): copy the certificate of its authority "+
			"to /etc/docker/certs.d/%s/ca.crt, add it to the system (or SSL_CERT_FILE), or name the registry with "+
			"--insecure-registry %s", e.Host, clean(e.Err.Error()), e.Host, e.Host)
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, os.ErrDeadlineExceeded),
		errors.As(e.Err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("registry %s did not answer in time: check the network, or try again", e.Host)
	case !e.insecure && errors.As(e.Err, &plain) && plain.Host == e.Host:
		return fmt.Sprintf("registry %s has no HTTPS, and plain HTTP is for loopback only: name it with "+
			"--insecure-registry %s if that is meant", e.Host, e.Host)
	// net/http has no type for it
	case !e.insecure && strings.Contains(e.Err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("registry %s speaks plain HTTP: name it with --insecure-registry %s if that is meant",
			e.Host, e.Host)
	}
	text := e.Err.Error()
	if errors.As(e.Err, &short) {
		text = short.Error() // the rest is the URL
	}
	return fmt.Sprintf("registry %s: %s", e.Host, clean(text))
}

// fail wraps err with what was to be done; nil stays nil.
func (c *Client) fail(op, ref, host string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	if host == name.DefaultRegistry {
		host = DockerHub // as its users write it
	}
	e := &Error{Op: op, Ref: ref, Host: host, Err: err, insecure: c.insecure(host)}
	var terr *transport.Error
	if errors.As(err, &terr) {
		e.Status = terr.StatusCode
	}
	return e
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d %s", status, text)
	}
	return fmt.Sprint(status)
}

// badDigest tells whether a registry says that bytes and digest are not of each other.
func badDigest(err error) bool {
	var terr *transport.Error
	return errors.As(err, &terr) && len(terr.Errors) > 0 && terr.Errors[0].Code == transport.DigestInvalidErrorCode
}

// diagnostics is the code and message that a registry gave with its status.
func diagnostics(err error) string {
	var terr *transport.Error
	if !errors.As(err, &terr) || len(terr.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", clean(terr.Errors[0].String()))
}

// clean makes foreign text fit for one line of a terminal.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
