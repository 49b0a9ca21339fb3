package launcher

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/cluster"
	hosts "github.com/raybuild/raybuild/test/bed"
)

// Ray is miniray here: a stand-in that counts nodes and runs nothing.
func TestImageThatCannotBeHadIsNamedAndNothingStarts(t *testing.T) {
	b := needBed(t)
	b.Clean(t, "denied")
	var banned atomic.Int32 // a host's number; 0: none
	b.ServeTLS(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "ray" && password == "right" && !strings.HasPrefix(r.RemoteAddr, b.Addr(int(banned.Load()))+":") {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return false
	})
	_, digest, _ := strings.Cut(b.moved, "@")
	up := func(digest string, c cluster.Credentials) (*cluster.Status, error) {
		o := b.Options(t)
		o.Auth = func(context.Context, string) (cluster.Credentials, error) { return c, nil }
		return cluster.Up(t.Context(), b.Spec(t, "denied", hosts.SecureName+"/miniray@"+digest, "", 2, 3), o)
	}
	wrong, right := cluster.Credentials{Username: "ray", Password: "wr0ng-secret"},
		cluster.Credentials{Username: "ray", Password: "right"}
	for _, tt := range []struct {
		what   string
		banned int
		digest string
		with   cluster.Credentials
		want   []string
	}{
		{"no credentials", 0, digest, cluster.Credentials{},
			[]string{b.Addr(1), hosts.SecureName, "docker login " + hosts.SecureName}},
		{"wrong credentials", 0, digest, wrong, []string{b.Addr(1), hosts.SecureName,
			"docker login " + hosts.SecureName}},
		{"no such image", 0, "sha256:" + strings.Repeat("0", 64), right,
			[]string{b.Addr(1), hosts.SecureName + "/miniray@sha256:0000", "manifest unknown", "build and push it"}},
		{"an image for another CPU", 0, b.forARM(t), right,
			[]string{b.Addr(1), b.Addr(2), b.Addr(3), "its CPU is amd64, and the image is for arm64"}},
		{"one host is not let in", 3, digest, right,
			[]string{b.Addr(3), hosts.SecureName, "docker login " + hosts.SecureName}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			b.forget(t, 3)
			banned.Store(int32(tt.banned))
			_, err := up(tt.digest, tt.with)
			t.Log(err)
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			if tt.with.Password != "" && err != nil && strings.Contains(err.Error(), tt.with.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
			if tt.banned > 0 && err != nil && strings.Contains(err.Error(), b.Addr(2)) {
				t.Errorf("the error names a host that is well: %v", err)
			}
			for i := 1; i <= 3; i++ {
				if out := b.Must(t, "exec", fmt.Sprint(i), "docker", "ps", "-aq"); strings.TrimSpace(out) != "" {
					t.Errorf("host %d: something was started: %s", i, out)
				}
			}
		})
	}
	banned.Store(0)
	if s, err := up(digest, right); err != nil || !s.Healthy {
		t.Errorf("with the right credentials: %v\n%s", err, s)
	}
}

// forARM pushes miniray as an image for another CPU, and gives its digest.
func (b *bed) forARM(t *testing.T) string {
	t.Helper()
	img := must(remote.Image(must(name.ParseReference(b.moved, name.Insecure))))
	cfg := must(img.ConfigFile()).DeepCopy()
	cfg.Architecture = "arm64"
	arm := must(mutate.ConfigFile(img, cfg))
	if err := remote.Write(must(name.ParseReference(b.Registry+"/miniray:arm", name.Insecure)), arm); err != nil {
		t.Fatal(err)
	}
	return must(arm.Digest()).String()
}
