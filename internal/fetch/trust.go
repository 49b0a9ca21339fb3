package fetch

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// certPool is what Go trusts by itself with the certificates of Options added; nil where nothing is to be added.
func certPool(o Options) *x509.CertPool {
	var files []string
	for _, name := range o.Certs {
		files = append(files, certFiles(name)...)
	}
	if len(files) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, name := range files {
		pem, err := os.ReadFile(name)
		switch {
		case err != nil:
			o.Warn(fmt.Sprintf("certificates are not used: %v", err))
		case !pool.AppendCertsFromPEM(pem):
			o.Warn(fmt.Sprintf("certificates are not used: %s has none in PEM form", name))
		}
	}
	return pool
}

// certFiles are the files of certificates that a name stands for.
func certFiles(name string) []string {
	st, err := os.Stat(name)
	if err != nil || !st.IsDir() {
		return []string{name}
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return []string{name} // the warning comes with reading it
	}
	var out []string
	for _, e := range entries {
		// A directory as OpenSSL takes it has each certificate by its hash; a name may also be its own.
		if file := filepath.Join(name, e.Name()); !e.IsDir() && holdsPEM(file) {
			out = append(out, file)
		}
	}
	return out
}

func holdsPEM(file string) bool {
	data, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(data), "-----BEGIN CERTIFICATE-----")
}

// explain says of an error of a connection what the user can do, where that is known.
func explain(u *url.URL, err error) error {
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		by := ""
		if unknown.Cert != nil && unknown.Cert.Issuer.String() != "" {
			by = fmt.Sprintf(" (%s)", unknown.Cert.Issuer)
		}
		return &UntrustedError{Host: u.Host, By: by, Err: err}
	}
	return err
}

// UntrustedError says that an unknown authority signed the certificate of a server.
type UntrustedError struct {
	Host string
	By   string // the authority in parentheses, after a space; "" where it is not known
	Err  error
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("the certificate of %s is signed by an authority that is not known here%s: if it is "+
		"your company's, name the file of its certificate: export PIP_CERT=FILE, or SSL_CERT_FILE=FILE for "+
		"all connections", e.Host, e.By)
}

// Unwrap returns the error of the connection.
func (e *UntrustedError) Unwrap() error { return e.Err }

// ProxyLoginError says that the HTTP proxy of the environment wants a user and a password.
type ProxyLoginError struct {
	Proxy    string // without secrets
	Variable string // that names it
	Given    bool   // a login was given, and refused
}

func (e *ProxyLoginError) Error() string {
	what := "wants a login"
	if e.Given {
		what = "refuses the login that is given"
	}
	_, host, _ := strings.Cut(e.Proxy, "://")
	return fmt.Sprintf("407 Proxy Authentication Required: the proxy %s %s: export %s with user and password "+
		"before the host, as USER:PASSWORD@%s (in them %%40 for @ and %%3A for a colon)", e.Proxy, what, e.Variable,
		strings.TrimSuffix(host, "/"))
}

// proxyLogin is the error of a proxy that did not let the request for u through.
func proxyLogin(u *url.URL) error {
	c := httpproxy.FromEnvironment()
	e := &ProxyLoginError{Variable: "HTTPS_PROXY"}
	if u.Scheme == "http" {
		e.Variable = "HTTP_PROXY"
	}
	proxy, err := c.ProxyFunc()(u)
	if err != nil || proxy == nil {
		return &statusError{code: http.StatusProxyAuthRequired} // a mirror that answers so by itself
	}
	e.Given = proxy.User != nil
	e.Proxy = redactURL(proxy)
	return e
}
