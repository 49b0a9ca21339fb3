package people_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// newAuthority makes an authority that nobody knows.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	a.cert, a.pem = sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate of by, or of itself if by is nil.
func sign(t *testing.T, c *x509.Certificate, by *authority, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "raybuild test"}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	c.NotBefore = time.Now().Add(-time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serve serves a registry over TLS at an address of this machine that is not loopback, and gives its host and port.
func (a *authority) serve(t *testing.T, c *x509.Certificate, clients *x509.CertPool) string {
	t.Helper()
	key := newKey(t)
	cert, _ := sign(t, c, a, key)
	ln, err := net.Listen("tcp", net.JoinHostPort(testneeds.OutsideAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(behind(fakesite.ServeRegistry(t)))
	if err := srv.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	srv.Listener, srv.Config.ErrorLog = ln, log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	if clients != nil {
		srv.TLS.ClientCAs, srv.TLS.ClientAuth = clients, tls.RequireAndVerifyClientCert
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return ln.Addr().String()
}

// TestCase38: what Docker's directory has for a registry of the site counts for raybuild's own push too, and what is
// wrong with a certificate is said.
func TestCase38CertificatesOfASitesRegistry(t *testing.T) {
	t.Parallel()
	own := newAuthority(t)
	address := net.ParseIP(testneeds.OutsideAddress(t))
	right := func() *x509.Certificate { return &x509.Certificate{IPAddresses: []net.IP{address}} }
	pool := x509.NewCertPool()
	pool.AddCert(own.cert)
	clientKey := newKey(t)
	_, shown := sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, own, clientKey)
	keyDER, err := x509.MarshalECPrivateKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	shownKey := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for name, tt := range map[string]struct {
		server  *x509.Certificate
		clients *x509.CertPool
		files   map[string][]byte // of the registry's directory
		says    string            // "": it works
	}{
		"the authority in certs.d": {right(), nil, map[string][]byte{"ca.crt": own.pem}, ""},
		"no authority":             {right(), nil, nil, "/ca.crt, add it to the system (or SSL_CERT_FILE)"},
		"another authority":        {right(), nil, map[string][]byte{"ca.crt": newAuthority(t).pem}, "is not trusted"},
		"a certificate of clients": {right(), pool, map[string][]byte{"ca.crt": own.pem, "client.cert": shown,
			"client.key": shownKey}, ""},
		"another name": {&x509.Certificate{DNSNames: []string{"registry.corp.example"}}, nil,
			map[string][]byte{"ca.crt": own.pem}, "is for other names"},
		"expired": {&x509.Certificate{IPAddresses: []net.IP{address}, NotAfter: time.Now().Add(-time.Minute)}, nil,
			map[string][]byte{"ca.crt": own.pem}, "renew it, or set the clock"},
		"a file that is none": {right(), nil, map[string][]byte{"ca.crt": []byte("-")}, "ca.crt holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, home := own.serve(t, tt.server, tt.clients), t.TempDir()
			dir := filepath.Join(home, ".config", "docker", "certs.d", host)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, data := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env := map[string]string{"HOME": home}
			c := registry.New(registry.Options{Timeout: 5 * time.Second,
				CertDirs: registry.CertDirs(func(k string) string { return env[k] })})
			err := c.CanPush(t.Context(), host+"/ray:1")
			if tt.says == "" && err == nil {
				_, _, err = c.Head(t.Context(), host+"/ray:1") // reads have a transport of their own
			}
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error does not say %q: %v", tt.says, err)
			}
		})
	}
}
