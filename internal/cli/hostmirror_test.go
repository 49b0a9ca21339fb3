package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

func quiet(config hostconf.Config) (*app, *bytes.Buffer) {
	var said bytes.Buffer
	a := &app{stderr: &said, stdout: &said, getenv: func(string) string { return "" }}
	a.hostOnce.Do(func() { a.hostConfig = config })
	return a, &said
}

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
	fast := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
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
		{"it answers", layers.Mirror{PipIndex: slow.URL}, map[string]*url.Userinfo{hostconf.Origin(at): login}, []string{"host", "fast"}},
		{"it has apt alone and answers", layers.Mirror{Debian: slow.URL}, map[string]*url.Userinfo{hostconf.Origin(at): login}, []string{"host", "fast"}},
		{"it refuses", layers.Mirror{PipIndex: slow.URL}, nil, []string{"fast", "host"}},
		{"it is dead", layers.Mirror{PipIndex: dead.URL}, nil, []string{"fast", "host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := quiet(hostconf.Config{Logins: tt.logins})
			tt.host.Name = layers.HostMirror
			var got []string
			for _, m := range a.fastest(t.Context(), []layers.Mirror{{Name: "fast", PipIndex: fast.URL}, tt.host}) {
				got = append(got, m.Name)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("the order is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMirrorsOnThisMachine(t *testing.T) {
	recipe, err := layers.LoadRecipe([]byte("mirrors: {fetch: [host, official]}"), "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	value := func(s string) hostconf.Value { return hostconf.Value{Text: s, From: "F"} }
	a, said := quiet(hostconf.Config{
		PipIndex: value("https://corp/root/simple"), CondaAlias: value("https://corp/t/TOKEN/c"), CondaChannels: map[string]hostconf.Value{"ours": value("https://corp/ours")},
		Debian: value("http://corp/debian"), Ports: value("http://corp/ports"), Notes: []string{"something is odd"},
	})
	mirrors := a.mirrorsOn(recipe.Mirrors)
	want := layers.Mirror{
		Name: "host", PipIndex: "https://corp/root/simple", PipFiles: "https://corp/root", CondaCloud: "https://corp/t/TOKEN/c",
		CondaURLs: map[string]string{"ours": "https://corp/ours"}, Debian: "http://corp/debian", Ports: "http://corp/ports",
	}
	if len(mirrors) != 2 || !reflect.DeepEqual(mirrors[0], want) {
		t.Errorf("the mirrors are %+v, want first %+v", mirrors, want)
	}
	if !strings.Contains(said.String(), "warning: host: something is odd") {
		t.Errorf("the story is %q, want the note", said)
	}
	for _, p := range hostParts(a.host()) {
		if strings.Contains(p.Text, "TOKEN") {
			t.Errorf("the token of %s is shown: %s", p.What, p.Text)
		}
	}
	a, said = quiet(hostconf.Config{})
	if mirrors := a.mirrorsOn(recipe.Mirrors); len(mirrors) != 1 || !strings.Contains(said.String(), "host has nothing here") {
		t.Errorf("with nothing configured the mirrors are %v, and the story is %q", mirrors, said)
	}
	// A builder that fetches by itself is told no URL that has a secret.
	login, err := url.Parse("https://corp:8443")
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{logins: map[string]*url.Userinfo{hostconf.Origin(login): url.User("joe")}}
	for raw, want := range map[string]bool{"https://corp:8443/x": true, "https://corp/x": false, "https://corp/t/TOKEN/c/x": true, "https://a@corp/x": true} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.secret(u); got != want {
			t.Errorf("%s is secret: %v, want %v", raw, got, want)
		}
	}
}
