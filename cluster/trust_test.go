package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// No host pulls an image that nobody whom the file names has signed. What is asked about is the digest that the hosts
// will run.
func TestUpVerifiesBeforeItPulls(t *testing.T) {
	t.Parallel()
	f := tagged(t, 2)
	trusting, err := Load("cluster.yaml", []byte(f.text(fleetTag, 2)+"trust: {signed_by: [{key: keys/a.pub}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	pulls := func() (n int) {
		for _, e := range f.engines {
			n += e.Calls()["POST /images/create"]
		}
		return n
	}
	o := f.options()
	if _, err := Up(t.Context(), trusting, o); err == nil || !strings.Contains(err.Error(), "cannot verify") {
		t.Errorf("without anybody who verifies: %v", err)
	}
	var mu sync.Mutex
	var asked []string
	var refusal error
	o.Verify = func(_ context.Context, ref string, trust Trust) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if asked = append(asked, ref); trust.SignedBy[0].Key != "keys/a.pub" {
			t.Errorf("the identities are %+v", trust)
		}
		return "us", refusal
	}
	refusal = errors.New("it has no signature")
	if _, err := Up(t.Context(), trusting, o); err == nil ||
		!strings.Contains(err.Error(), "not signed by an identity of trust.signed_by (it has no signature)") {
		t.Errorf("the error is %v", err)
	}
	if n := pulls(); n > 0 {
		t.Errorf("%d times a host has pulled what nobody signed", n)
	}
	refusal, asked = nil, nil
	s, err := Up(t.Context(), trusting, o)
	if err != nil || !s.Healthy || pulls() == 0 {
		t.Errorf("up: %v, %d pulls", err, pulls())
	}
	for _, ref := range asked {
		if ref != fleetImage {
			t.Errorf("asked about %s, want %s", ref, fleetImage)
		}
	}
}

// What is wrong with trust is told with its place.
func TestTrustOfAFile(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"trust: {signed_by: [{}]}":                           "trust.signed_by[0]: names nobody",
		"trust: {signed_by: [{key: /a.pub}]}":                "is not a path relative to this file",
		"trust: {signed_by: [{issuer: https://a}]}":          "is everybody whom the issuer knows",
		"trust: {root: ~/x, signed_by: [{key: keys/a.pub}]}": "is not a path relative to this file",
	} {
		_, err := Load("cluster.yaml", []byte("name: a\nimage: b\nhead: {host: local}\n"+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
