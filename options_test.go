package raybuild

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

// configured is an environment of a machine with this configuration, and what it tells.
func configured(config hostconf.Config) (*env, *strings.Builder) {
	var told strings.Builder
	e := newEnv(Options{Log: func(e Event) { told.WriteString(e.String() + "\n") }})
	e.host = func() hostconf.Config { return config }
	return e, &told
}

func TestMirrorsOnThisMachine(t *testing.T) {
	t.Parallel()
	recipe, err := layers.LoadRecipe([]byte("mirrors: {fetch: [host, official]}"), "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	value := func(s string) hostconf.Value { return hostconf.Value{Text: s, From: "F"} }
	e, said := configured(hostconf.Config{
		PipIndex: value("https://corp/root/simple"), CondaAlias: value("https://corp/t/TOKEN/c"),
		CondaChannels: map[string]hostconf.Value{"ours": value("https://corp/ours")},
		Debian:        value("http://corp/debian"), Ports: value("http://corp/ports"),
		Notes: []string{"something is odd"},
	})
	mirrors := e.mirrorsOn(recipe.Mirrors)
	want := layers.Mirror{
		Name: "host", PipIndex: "https://corp/root/simple", PipFiles: "https://corp/root",
		CondaCloud: "https://corp/t/TOKEN/c",
		CondaURLs:  map[string]string{"ours": "https://corp/ours"}, Debian: "http://corp/debian",
		Ports: "http://corp/ports",
	}
	if len(mirrors) != 2 || !reflect.DeepEqual(mirrors[0], want) {
		t.Errorf("the mirrors are %+v, want first %+v", mirrors, want)
	}
	if !strings.Contains(said.String(), "warning: host: something is odd") {
		t.Errorf("what is told is %q, want the note", said)
	}
	e, said = configured(hostconf.Config{})
	if mirrors := e.mirrorsOn(recipe.Mirrors); len(mirrors) != 1 ||
		!strings.Contains(said.String(), "host has nothing here") {
		t.Errorf("with nothing configured the mirrors are %v, and what is told is %q", mirrors, said)
	}
}

// TestL8BuildersInTheClear: who asks a builder over a network without TLS is told.
func TestL8BuildersInTheClear(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"tcp://builder.example:1234": true, "tcp://10.0.0.1:1234": true, "tcp://127.0.0.1:1234": false,
		"tcp://localhost:1234": false, "tcp://[::1]:1234": false, "unix:///run/buildkit/buildkitd.sock": false,
		"tcp://builder.example:1234?cacert=ca.pem": false, "embedded": false, "docker": false,
	} {
		if got := inTheClear(addr); got != want {
			t.Errorf("%s is in the clear: %v, want %v", addr, got, want)
		}
	}
}

// TestL11HomeIsOneOfTheUsersOwn: others must not change what is built.
func TestL11HomeIsOneOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	if os.PathSeparator != '/' {
		t.Skip("modes are those of Unix")
	}
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o770: true, 0o777: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := (Options{Home: dir}).MakeHome(); (err == nil) != want {
			t.Errorf("a directory of mode %o: %v", mode, err)
		}
	}
}
