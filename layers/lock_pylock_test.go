package layers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/pylock"
)

// A lock of two platforms is one pylock.toml, which gives each platform its own files back.
func TestPylockOfTwoPlatforms(t *testing.T) {
	t.Parallel()
	wheel := func(name, version, file string) Artifact {
		return Artifact{Kind: KindWheel, Name: name, Version: version, Origin: "pypi", Path: "packages/" + file,
			Size:   9,
			SHA256: strings.Repeat(fmt.Sprintf("%02x", len(file)), 32)}
	}
	platform := func(artifacts ...Artifact) *LockPlatform {
		return &LockPlatform{Layers: []LockLayer{
			{Name: "env", Artifacts: []Artifact{{Kind: KindConda, Name: "python", Version: "3.11.9"}}},
			{Name: "ray", Artifacts: append(artifacts,
				Artifact{Kind: KindWheel, Name: "flit", Version: "1", For: map[string]string{"build": "s"}})},
			{Name: "add-1", Artifacts: []Artifact{wheel("top", "1", "top-1-py3-none-any.whl")}}}}
	}
	l := &Lock{Platforms: map[string]*LockPlatform{
		"linux/amd64": platform(wheel("a", "1", "a-1-cp311-cp311-manylinux2014_x86_64.whl"),
			wheel("b", "2", "b-2-py3-none-any.whl"), wheel("c", "1", "c-1-py3-none-any.whl"),
			Artifact{Kind: KindWheel, Name: "own", Version: "1", Origin: originLocal, SHA256: sumA,
				Path: "dist/own-1-py3-none-any.whl"}),
		"linux/arm64": platform(wheel("a", "1", "a-1-cp311-cp311-manylinux2014_aarch64.whl"),
			wheel("b", "3", "b-3-py3-none-any.whl"),
			Artifact{Kind: KindSdist, Name: "s", Version: "1", Origin: "https://o.example/x", Path: "s-1.tar.gz",
				SHA256: sumA}),
	}}
	text, err := l.Pylock()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.Pylock(); err != nil || string(again) != string(text) {
		t.Errorf("the same lock gives other bytes (%v)", err)
	}
	source, err := pylock.Open("pylock.toml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range l.Platforms {
		target := pylock.Target{Python: "3.11.9", Platform: name, Glibc: "2.35"}
		packages, err := source.Select(pylock.Request{Target: target})
		if err != nil {
			t.Fatal(err)
		}
		picker, err := pylock.NewPicker(target)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, p := range packages {
			f, err := picker.Pick(p)
			if err != nil {
				t.Error(err)
			}
			got[p.Name+" "+p.Version+" "+f.URL+f.Path] = f.SHA256
		}
		var all []Artifact
		for _, layer := range want.pythonLayers() {
			all = append(all, runtimePackages(layer.Artifacts)...)
		}
		if len(all) != len(got) {
			t.Errorf("%s: %d packages, want %d:\n%s", name, len(got), len(all), text)
		}
		for _, a := range all {
			place := a.URL()
			if a.Origin == originLocal {
				place = a.Path
			}
			if got[a.Name+" "+a.Version+" "+place] != a.SHA256 {
				t.Errorf("%s: %s is not in it:\n%s", name, place, text)
			}
		}
	}
	l.Platforms["linux/s390x"] = platform()
	if _, err := l.Pylock(); err == nil || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("%v", err)
	}
}
