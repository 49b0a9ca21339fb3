package signingtest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Token is the OIDC token of the subject, which nobody has signed.
func Token() string {
	part := func(v any) string {
		data, _ := json.Marshal(v) //nolint:errchkjson // plain
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]string{"alg": "RS256"}) + "." + part(map[string]any{"iss": Issuer, "email": Subject,
		"email_verified": true, "sub": Subject, "aud": "sigstore"}) + ".AAAA"
}

// Serve serves certificates and the log until the test ends. It returns the file that names the servers
// (signing_config.json), and the server's URL, where /token gives the token to who asks with "Bearer job".
func (s *Sigstore) Serve() (config, base string) {
	s.t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", s.serveCertificate)
	mux.HandleFunc("POST /api/v1/log/entries", s.serveEntry)
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer job" || r.URL.Query().Get("audience") != "sigstore" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		answer(w, http.StatusOK, map[string]string{"value": Token()})
	})
	server := httptest.NewServer(mux)
	s.t.Cleanup(server.Close)
	service := []any{map[string]any{"url": server.URL, "majorApiVersion": 1, "operator": "test",
		"validFor": map[string]string{"start": "2024-01-01T00:00:00Z"}}}
	text, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": service,
		"rekorTlogUrls": service, "rekorTlogConfig": map[string]any{"selector": "ANY"}})
	s.ok(err)
	config = filepath.Join(s.t.TempDir(), "signing_config.json")
	s.ok(os.WriteFile(config, text, 0o600))
	return config, server.URL
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client tells
}

// serveCertificate certifies the subject for a key.
func (s *Sigstore) serveCertificate(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		PublicKeyRequest struct {
			PublicKey struct{ Content string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("Authorization") != "Bearer "+Token() {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(asked.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	leaf := s.certify(Subject, public, time.Now().Add(-time.Minute))
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	answer(w, http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{
		"chain": map[string]any{"certificates": []string{text}}}})
}

// serveEntry puts an envelope into the log.
func (s *Sigstore) serveEntry(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
		}
	}
	var envelope dsse.Envelope
	err := json.NewDecoder(r.Body).Decode(&asked)
	if err == nil {
		err = json.Unmarshal([]byte(asked.Spec.ProposedContent.Envelope), &envelope)
	}
	if err != nil || len(asked.Spec.ProposedContent.Verifiers) != 1 || len(envelope.Signatures) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	chain, err := cryptoutils.UnmarshalCertificatesFromPEM(asked.Spec.ProposedContent.Verifiers[0])
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	entry, proof := s.entry(s.dsseBody(chain[0], &envelope, sig), "dsse", "0.0.1", time.Now())
	w.Header().Set("ETag", "1")
	answer(w, http.StatusCreated, map[string]any{"1": map[string]any{
		"body": base64.StdEncoding.EncodeToString(entry.CanonicalizedBody), "integratedTime": entry.IntegratedTime,
		"logIndex": 0, "logID": hex.EncodeToString(entry.LogId.KeyId),
		"verification": map[string]any{"signedEntryTimestamp": entry.InclusionPromise.SignedEntryTimestamp,
			"inclusionProof": proof}}})
}
