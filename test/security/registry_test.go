package security

import (
	"net/http"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/fakesite"
)

// TestM6PagesCannotWriteToTheRegistry: a page that its owner has resolved to this machine writes a tag.
func TestM6PagesCannotWriteToTheRegistry(t *testing.T) {
	at := fakesite.ServeRegistry(t)
	_, port, _ := strings.Cut(at, ":")
	for _, tt := range []struct {
		name, host string
		header     string
		want       int
	}{
		{"a tool", at, "", http.StatusOK},
		{"a tool by the name of this machine", "localhost:" + port, "", http.StatusOK},
		{"a tool behind a relay", "10.1.2.3:5000", "", http.StatusOK},
		{"a name that was rebound", "evil.example:" + port, "", http.StatusForbidden},
		{"a name that looks local", "127.0.0.1.evil.example", "", http.StatusForbidden},
		{"a page of elsewhere", at, "Origin: https://evil.example", http.StatusForbidden},
		{"a page without an origin", at, "Origin: null", http.StatusForbidden},
		{"a page's picture", at, "Sec-Fetch-Mode: no-cors", http.StatusForbidden},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at+"/v2/", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.want {
				t.Errorf("%s, %s: %s", tt.name, method, resp.Status)
			}
		}
	}
}
