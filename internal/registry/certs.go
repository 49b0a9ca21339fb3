package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// CertDirs are the directories in which Docker and Podman look for the certificates of registries, the user's own
// ones first (docs.docker.com, "Verify repository client with certificates" and "Rootless mode";
// containers-certs.d(5)). They need not exist.
func CertDirs(getenv func(string) string) []string {
	var dirs []string
	config := getenv("XDG_CONFIG_HOME")
	if home := getenv("HOME"); config == "" && home != "" {
		config = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(config) {
		dirs = append(dirs, filepath.Join(config, "docker", "certs.d"), filepath.Join(config, "containers", "certs.d"))
	}
	if runtime.GOOS != "windows" {
		dirs = append(dirs, "/etc/docker/certs.d", "/etc/containers/certs.d")
	}
	return dirs
}

// trusting makes requests with the certificates that the client's directories have for a registry.
type trusting struct {
	dirs    []string
	make    func(certificates *tls.Config) http.RoundTripper
	mu      sync.Mutex
	byHosts map[string]http.RoundTripper // "": of all hosts that have none of their own
}

func (c *Client) trusting(silence time.Duration) http.RoundTripper {
	return &trusting{dirs: c.o.CertDirs, byHosts: map[string]http.RoundTripper{},
		make: func(certificates *tls.Config) http.RoundTripper {
			return newTransport(c.o.Timeout, silence, certificates)
		}}
}

// RoundTrip implements http.RoundTripper.
func (t *trusting) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := t.of(req.URL.Host)
	if err != nil {
		return nil, err
	}
	return rt.RoundTrip(req)
}

// of is what makes the requests to a host. The directories are read once for each host.
func (t *trusting) of(host string) (http.RoundTripper, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rt, ok := t.byHosts[host]; ok {
		return rt, nil
	}
	certificates, err := certificatesFor(t.dirs, host)
	if err != nil {
		return nil, fmt.Errorf("read certificates for registry %q: %w", host, err)
	}
	key := host
	if certificates == nil {
		if rt, ok := t.byHosts[""]; ok {
			t.byHosts[host] = rt
			return rt, nil
		}
		key, certificates = "", &tls.Config{MinVersion: tls.VersionTLS12}
	}
	rt := t.make(certificates)
	t.byHosts[key], t.byHosts[host] = rt, rt
	return rt, nil
}

// certificatesFor reads what the directories have for a host; nil: nothing.
func certificatesFor(dirs []string, host string) (*tls.Config, error) {
	var authorities, shown []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, host))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		for _, e := range entries {
			switch file := filepath.Join(dir, host, e.Name()); filepath.Ext(file) {
			case ".crt":
				authorities = append(authorities, file)
			case ".cert":
				shown = append(shown, file)
			}
		}
	}
	if len(authorities)+len(shown) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(authorities) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		out.RootCAs = pool
	}
	for _, file := range authorities {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !out.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
		}
	}
	for _, file := range shown {
		pair, err := tls.LoadX509KeyPair(file, strings.TrimSuffix(file, ".cert")+".key")
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, pair)
	}
	return out, nil
}
