package signing_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// A key that never leaves its KMS signs, too: here Vault's, of which a stand-in has two requests.
func TestKMS(t *testing.T) {
	b := newBench(t)
	key, public := signingtest.Keys(t, b.dir, "ours"), b.read("ours.pub")
	answer := func(w http.ResponseWriter, data map[string]any) {
		if err := json.NewEncoder(w).Encode(map[string]any{"data": data}); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/images", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"latest_version": 1, "keys": map[string]any{"1": map[string]any{
			"name": "P-256", "public_key": public}}})
	})
	mux.HandleFunc("PUT /v1/transit/sign/images/sha2-256", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Input []byte }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("X-Vault-Token") != "token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		sig, err := ecdsa.SignASN1(rand.Reader, key, asked.Input)
		if err != nil {
			t.Error(err)
		}
		answer(w, map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "token")
	if err := b.sign(signing.KeyOptions{Key: "hashivault://images"}); err != nil {
		t.Fatal(err)
	}
	if who, err := b.ours().Verify(t.Context(), b.c, b.ref); who != "us" || err != nil {
		t.Errorf("it is signed by %q, %v", who, err)
	}
}
