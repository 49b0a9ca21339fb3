package bed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// SecureName is the bed's registry with TLS, by the name that the README's lines have.
const SecureName = "registry.example"

// ServeTLS makes the bed's registry answer as https://registry.example to its hosts, which trust
// its key for the length of the test. allow decides on a request before the registry sees it; nil
// allows all.
func (b *Bed) ServeTLS(t testing.TB, allow func(http.ResponseWriter, *http.Request) bool) {
	t.Helper()
	cert, ca := selfSigned(t, SecureName)
	ln, err := tls.Listen("tcp", b.Net+".1:443", &tls.Config{Certificates: []tls.Certificate{cert},
		MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if allow == nil || allow(w, r) {
				r.Host = b.Registry // a registry on loopback answers to addresses alone
				b.Store.ServeHTTP(w, r)
			}
		})}
	go server.Serve(ln) //nolint:errcheck // it serves until the test ends
	t.Cleanup(func() { server.Close() })
	for i := 1; i <= b.Hosts; i++ {
		dir := filepath.Join(b.Dir, fmt.Sprintf("h%d/etc-docker/certs.d", i), SecureName)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o644); err != nil {
			t.Fatal(err)
		}
		b.Must(t, "exec", fmt.Sprint(i), "sh", "-c",
			fmt.Sprintf("grep -q %[2]s /etc/hosts || echo %[1]s.1 %[2]s >>/etc/hosts", b.Net, SecureName))
	}
}

// selfSigned makes a certificate for a name, and its PEM.
func selfSigned(t testing.TB, name string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		DNSNames:  []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
