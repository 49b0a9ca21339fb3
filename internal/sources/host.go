package sources

import (
	"runtime"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

// HostMirror returns the machine's configuration as a mirror to fetch from.
func HostMirror(c hostconf.Config) layers.Mirror {
	m := layers.Mirror{
		Name:   layers.HostMirror,
		Ubuntu: c.Ubuntu.Text, UbuntuSecurity: c.UbuntuSecurity.Text, Ports: c.Ports.Text,
		Debian: c.Debian.Text, DebianSecurity: c.DebianSecurity.Text,
		CondaCloud: c.CondaAlias.Text,
	}
	if c.PipIndex.Text != "" {
		m = m.WithPip(c.PipIndex.Text)
	}
	for name, v := range c.CondaChannels {
		if m.CondaURLs == nil {
			m.CondaURLs = map[string]string{}
		}
		m.CondaURLs[name] = v.Text
	}
	return m
}

// Certs returns the certificate files of the machine's configuration that Go does not read itself.
func Certs(c hostconf.Config) []string {
	var out []string
	for _, v := range c.Certs {
		// On darwin and windows Go ignores the variable (crypto/x509).
		if v.From != "SSL_CERT_FILE" || runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
			out = append(out, v.Text)
		}
	}
	return out
}
