package cli

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

func quiet(config hostconf.Config) (*app, *bytes.Buffer) {
	var said bytes.Buffer
	a := &app{stderr: &said, stdout: &said, getenv: func(string) string { return "" }}
	a.hostOnce.Do(func() { a.hostConfig = config })
	return a, &said
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
}
