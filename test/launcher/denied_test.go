package launcher

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raybuild/raybuild/cluster"
)

// Ray is miniray here: a stand-in that counts nodes and runs nothing.
func TestRegistryThatDeniesIsNamedAndNothingStarts(t *testing.T) {
	b := needBed(t)
	b.clean(t, "denied")
	var banned atomic.Int32 // a host's number; 0: none
	b.serveTLS(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "ray" && password == "right" && !strings.HasPrefix(r.RemoteAddr, b.addr(int(banned.Load()))+":") {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return false
	})
	_, digest, _ := strings.Cut(b.moved, "@")
	spec := b.spec(t, "denied", secureName+"/miniray@"+digest, "", 2, 3)
	up := func(c cluster.Credentials) (*cluster.Status, error) {
		o := b.options(t)
		o.Auth = func(context.Context, string) (cluster.Credentials, error) { return c, nil }
		return cluster.Up(t.Context(), spec, o)
	}
	wrong, right := cluster.Credentials{Username: "ray", Password: "wr0ng-secret"}, cluster.Credentials{Username: "ray", Password: "right"}
	for _, tt := range []struct {
		what   string
		banned int
		with   cluster.Credentials
		want   []string
	}{
		{"no credentials", 0, cluster.Credentials{}, []string{b.addr(1), secureName, "docker login " + secureName}},
		{"wrong credentials", 0, wrong, []string{b.addr(1), secureName, "docker login " + secureName}},
		{"one host is not let in", 3, right, []string{b.addr(3), secureName, "docker login " + secureName}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			b.forget(t, 3)
			banned.Store(int32(tt.banned))
			_, err := up(tt.with)
			t.Log(err)
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			if tt.with.Password != "" && err != nil && strings.Contains(err.Error(), tt.with.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
			if tt.banned > 0 && err != nil && strings.Contains(err.Error(), b.addr(2)) {
				t.Errorf("the error names a host that is well: %v", err)
			}
			for i := 1; i <= 3; i++ {
				if out := b.must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
					t.Errorf("host %d: something was started: %s", i, out)
				}
			}
		})
	}
	banned.Store(0)
	if s, err := up(right); err != nil || !s.Healthy {
		t.Errorf("with the right credentials: %v\n%s", err, s)
	}
}
