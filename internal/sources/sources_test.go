package sources

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

// What the machine's owner chose comes first if it answers, however fast others are, and last if it does not.
func TestAutoTakesTheHostFirst(t *testing.T) {
	login := url.UserPassword("joe", "pw")
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "joe" || password != "pw" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte("x"))
		w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's is one
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}))
	defer slow.Close()
	fast := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
	}))
	defer fast.Close()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	at, err := url.Parse(slow.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		host   layers.Mirror
		logins map[string]*url.Userinfo
		want   []string
	}{
		{"it answers", layers.Mirror{PipIndex: slow.URL}, map[string]*url.Userinfo{hostconf.Origin(at): login},
			[]string{"host", "fast"}},
		{"it has apt alone and answers", layers.Mirror{Debian: slow.URL},
			map[string]*url.Userinfo{hostconf.Origin(at): login}, []string{"host", "fast"}},
		{"it refuses", layers.Mirror{PipIndex: slow.URL}, nil, []string{"fast", "host"}},
		{"it is dead", layers.Mirror{PipIndex: dead.URL}, nil, []string{"fast", "host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.host.Name = layers.HostMirror
			var got []string
			for _, m := range Fastest(t.Context(), []layers.Mirror{{Name: "fast", PipIndex: fast.URL}, tt.host},
				hostconf.Config{Logins: tt.logins}) {
				got = append(got, m.Name)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("the order is %q, want %q", got, tt.want)
			}
		})
	}
}

// A builder that fetches by itself is told no URL that has a secret.
func TestSecretURLs(t *testing.T) {
	login, err := url.Parse("https://corp:8443")
	if err != nil {
		t.Fatal(err)
	}
	s := &Sources{logins: map[string]*url.Userinfo{hostconf.Origin(login): url.User("joe")}}
	for raw, want := range map[string]bool{"https://corp:8443/x": true, "https://corp/x": false,
		"https://corp/t/TOKEN/c/x": true, "https://a@corp/x": true} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.secret(u); got != want {
			t.Errorf("%s is secret: %v, want %v", raw, got, want)
		}
	}
}
