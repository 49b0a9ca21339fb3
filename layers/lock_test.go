package layers

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

func hexOf(s string) string { return digest.FromString(s).Encoded() }

// sampleLock has every field, and values that a careless writer would spoil.
func sampleLock() *Lock {
	image := LockImage{Reference: "ubuntu:22.04", Digest: digest.FromString("base"), ID: "ubuntu", Release: "22.04",
		Codename: "jammy", Glibc: "2.35",
		Layers: 1, LayerDigests: []digest.Digest{digest.FromString("layer")},
		DiffIDs:   []digest.Digest{digest.FromString("diff")},
		Env:       []string{"PATH=/usr/bin:/bin", "NOTE=a: b # c", "EMPTY="},
		AptFiles:  []string{"/etc/apt/sources.list"},
		DpkgPaths: []string{"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"}}
	return &Lock{Version: 1, Recipe: digest.FromString("recipe"), Platforms: map[string]*LockPlatform{
		"linux/arm64": {Resolved: time.Date(2026, 11, 23, 0, 1, 2, 0, time.UTC), Base: image, Tool: image},
		"linux/amd64": {
			Resolved: time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC), Base: image, Tool: image,
			Layers: []LockLayer{
				{Name: "apt", Inputs: digest.FromString("in"), Artifacts: []Artifact{
					{Kind: KindDeb, Name: "vim", Version: "2:9.1.0016-1ubuntu7", Origin: "ubuntu",
						Path: "pool/main/v/vim/vim_9.1.0016-1ubuntu7_amd64.deb", SHA256: hexOf("vim"), Size: 12},
					{Kind: KindDeb, Name: "g++", Version: "11", Origin: "https://apt.example.org/x",
						Path: "pool/g%2b%2b_11.deb", SHA256: hexOf("g"), Size: 1},
				}},
				{Name: "env", Artifacts: []Artifact{
					{Kind: KindConda, Name: "_libgcc_mutex", Version: "0.1", Origin: "conda-forge",
						Path: "linux-64/_libgcc_mutex-0.1-conda_forge.tar.bz2", SHA256: hexOf("m"),
						MD5: strings.Repeat("1", 32), For: map[string]string{"build": "conda_forge", "other": "yes"}},
				}},
				{Name: "ray", Artifacts: []Artifact{
					{Kind: KindWheel, Name: "ray", Version: "2.10", Origin: "pypi",
						Path:   "packages/aa/bb/ray-2.10.0-cp312-cp312-manylinux2014_x86_64.whl",
						SHA256: "1234567890" + hexOf("r")[10:]},
					{Kind: KindWheel, Name: "own", Version: "1e5", Origin: "local", Path: "dist/own 1é.whl",
						SHA256: hexOf("o")},
				}},
				{Name: "files"},
			},
			Notes: []string{"true", "two\nlines", `a "quoted" <note> é`},
		},
	}}
}

func TestLockRoundTrip(t *testing.T) {
	t.Parallel()
	l := sampleLock()
	data, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLock(data, "raybuild.lock")
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for i, layer := range l.Platforms["linux/amd64"].Layers {
		l.Platforms["linux/amd64"].Layers[i].Artifacts = sortedArtifacts(layer.Artifacts)
	}
	if !reflect.DeepEqual(got, l) {
		t.Errorf("got\n%+v\nwant\n%+v\n%s", got.Platforms["linux/amd64"], l.Platforms["linux/amd64"], data)
	}
	again, err := got.Marshal()
	if err != nil || string(again) != string(data) {
		t.Errorf("writing it again differs: %v\n%s", err, again)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if strings.TrimRight(line, " ") != line || strings.Contains(line, "\t") {
			t.Errorf("untidy line %q", line)
		}
	}
}

// Whatever is text in the lock is text for any reader of YAML.
func TestLockTextIsText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"1", "1.10", "1e5", "0x1f", "yes", "NO", "null", "~", "2026-01-02", "12:34:56", "true",
		".5", ".inf", "-1", "+1", "1_000", "", " a", "a ", "a: b", "a #b", "- a",
		"*a", "&a", "!a", "%a", "@a", "`a", "a:", ":", "?", "é", "\"", "'", "{a", "[a", "0b1", "=", "<<",
		"y", "1,2", "#"} {
		w := lockWriter{}
		text := w.scalar(s)
		var v any
		if err := yaml.Unmarshal([]byte("k: "+text+"\n"), &v); err != nil {
			t.Errorf("%q is written as %s: %v", s, text, err)
			continue
		}
		if got := v.(map[string]any)["k"]; got != s {
			t.Errorf("%q is written as %s and read as %#v", s, text, got)
		}
	}
	w := lockWriter{}
	if w.scalar("a\x00b"); w.err == nil {
		t.Error("a control character was written")
	}
}

func TestLockAsJSON(t *testing.T) {
	t.Parallel()
	text := "{\n\t\"version\": 1,\n\t\"recipe\": \"" + digest.FromString("r").String() + "\",\n\t\"platforms\": {}\n}\n"
	l, err := ParseLock([]byte(text), "raybuild.lock")
	if err != nil || l.Recipe != digest.FromString("r") {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestLocksRefused(t *testing.T) {
	t.Parallel()
	good, err := sampleLock().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	change := func(from, to string) string {
		text := strings.Replace(string(good), from, to, 1)
		if text == string(good) {
			t.Fatalf("the sample has no %q", from)
		}
		return text
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":  {"", "is not a lock; remove it, and run raybuild lock"},
		"a list": {"- a", "is not a lock; "},
		"a later version": {change("version: 1", "version: 2"),
			`:2:10: version: "2" is not a version of the lock that this raybuild knows; `},
		"an unknown key":     {change("recipe:", "recipes:"), `:3:1: recipes: unknown key; did you mean "recipe"?`},
		"a bad digest":       {change("recipe: sha256:", "recipe: sha512:"), `is not a digest; write sha256: and 64`},
		"a path that leaves": {change("pool/main/v/vim", "pool/../../x"), `is not a path below an origin; `},
		"an absolute path":   {change("pool/main/v/vim", "/pool/x"), `is not a path below an origin; `},
		"a name as option": {change("name: vim", "name: --config"),
			`"--config" is not a name or version of a package; `},
		"an unknown kind": {change("kind: deb", "kind: dab"), `"dab" is not known; did you mean "deb"?`},
		"a negative size": {change("size: 12", "size: -12"), `"-12" is not a whole number; `},
		"a fraction":      {change("size: 12", "size: 1.5"), `"1.5" is not a whole number; `},
		"no digest":       {change("            sha256: "+hexOf("vim")+"\n", ""), `has no sha256; add it`},
		"a foreign URL":   {change("https://apt.example.org/x", "file:///etc"), `is not an http or https URL`},
		"credentials": {change("https://apt.example.org/x", "https://u:p@apt.example.org/x"),
			`a URL with credentials`},
		"an own path upwards":  {change("dist/own 1é.whl", "../own.whl"), `leads out of the recipe's directory`},
		"a time that is none":  {change("2026-11-22T03:04:05Z", "yesterday"), `"yesterday" is not a time; `},
		"a layer twice":        {change("- name: env", "- name: apt"), `the layer "apt" is there twice`},
		"a strange platform":   {change("linux/arm64:", "plan9/arm:"), `"plan9/arm" is not a platform`},
		"a merge conflict":     {change("recipe:", "<<<<<<< HEAD\nrecipe:"), `not valid YAML`},
		"an alias":             {change("kind: deb", "kind: *x"), `anchors and aliases are not supported`},
		"a hundred megabytes":  {strings.Repeat("x", 100<<20), `more than the 16777216 allowed`},
		"nested without end":   {strings.Repeat("[", 9000), `not valid YAML`},
		"a reference in parts": {change("reference: ubuntu:22.04", "reference: Ubuntu"), `is not an image reference`},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := ParseLock([]byte(tt.text), "raybuild.lock")
			var bad *RecipeError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) ||
				!strings.HasPrefix(err.Error(), "raybuild.lock") {
				t.Errorf("got %v (%v), want %q", err, l, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "u:p@") {
				t.Error("the error shows the password")
			}
		})
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	old, now := sampleLock(), sampleLock()
	if d := Diff(old, now); len(d) != 0 {
		t.Errorf("same locks differ: %+v", d)
	}
	p := now.Platforms["linux/amd64"]
	p.Resolved = p.Resolved.Add(time.Hour)
	p.Base.Digest = digest.FromString("patched")
	p.Layers[0].Artifacts[0].Version = "2:9.2"
	p.Layers[1].Artifacts[0].SHA256 = hexOf("rebuilt")
	p.Layers[2].Artifacts = p.Layers[2].Artifacts[1:]
	p.Layers[3].Artifacts = []Artifact{{Kind: KindFile, Name: "x", Version: "1", SHA256: hexOf("x")}}
	delete(now.Platforms, "linux/arm64")
	got := Diff(old, now)
	want := []Change{
		{"linux/amd64", "base", "image", "ubuntu:22.04", digest.FromString("base").String(),
			digest.FromString("patched").String()},
		{"linux/amd64", "apt", KindDeb, "vim", "2:9.1.0016-1ubuntu7", "2:9.2"},
		{"linux/amd64", "env", KindConda, "_libgcc_mutex", "sha256:" + hexOf("m"), "sha256:" + hexOf("rebuilt")},
		{"linux/amd64", "ray", KindWheel, "ray", "2.10", ""},
		{"linux/amd64", "files", KindFile, "x", "", "1"},
		{"linux/arm64", "base", "image", "ubuntu:22.04", digest.FromString("base").String(), ""},
		{"linux/arm64", "tool", "image", "ubuntu:22.04", digest.FromString("base").String(), ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if d := Diff(nil, old); len(d) != 2*2+5 {
		t.Errorf("everything new: %d changes, want 9: %+v", len(d), d)
	}
}

func TestFilenames(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"pool/main/v/vim/vim_2%3a9_amd64.deb": "vim_2:9_amd64.deb", "a.whl": "a.whl", "x/%2e%2e": "%2e%2e",
		"x/a%2fb": "a%2fb", "x/a%00b": "a%00b", "x/a%zz": "a%zz",
	} {
		if got := (Artifact{Path: path}).Filename(); got != want {
			t.Errorf("file name of %q is %q, want %q", path, got, want)
		}
	}
}

func FuzzLock(f *testing.F) {
	data, err := sampleLock().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"recipe":"sha256:` + hexOf("r") + `","platforms":{}}`))
	f.Add([]byte("version: 1\nplatforms: {linux/amd64: {layers: [{name: a, artifacts: [{kind: deb}]}]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock(data, "raybuild.lock")
		if err != nil {
			var bad *RecipeError
			if !errors.As(err, &bad) || len(bad.Problems) == 0 || strings.TrimSpace(err.Error()) == "" {
				t.Fatalf("error without a problem: %#v", err)
			}
			return
		}
		first, err := l.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v\n%q", err, data)
		}
		again, err := ParseLock(first, "raybuild.lock")
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
		second, err := again.Marshal()
		if err != nil || string(first) != string(second) {
			t.Fatalf("two forms of one lock (%v):\n%s\n%s", err, first, second)
		}
	})
}

func FuzzRecipe(f *testing.F) {
	f.Add([]byte(everything), "ray.version=2.52.0")
	f.Add([]byte("a: &x [*x]"), "apt=[vim]")
	f.Add([]byte("{\"pip\": [\"x[a]>=1; python_version<'3'\"]}"), "pip.wheels=[a.whl]")
	f.Add([]byte("mirrors: {fetch: [{apt: http://h/x}, official], image: ustc}"), "image.env.A=b")
	f.Add([]byte("\ufeffsteps:\n\t- x"), "x")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		r, err := LoadRecipe(data, "raybuild.yaml", []string{set})
		if err != nil {
			var bad *RecipeError
			if !errors.As(err, &bad) || len(bad.Problems) == 0 {
				t.Fatalf("error without a problem: %#v", err)
			}
			for _, p := range bad.Problems {
				if p.Message == "" || p.Fix == "" || strings.ContainsAny(p.String(), "\x00\x1b") {
					t.Fatalf("problem %#v says too little or too much", p)
				}
			}
			return
		}
		again, err := LoadRecipe(data, "raybuild.yaml", []string{set})
		if err != nil || !reflect.DeepEqual(r, again) || r.Digest() != again.Digest() {
			t.Fatalf("two readings of one recipe: %v", err)
		}
		for _, list := range [][]string{r.Apt.Packages, r.Env.Conda, r.Pip.Packages, r.Env.Channels,
			{r.Env.Name, r.Image.User, r.Base, r.Ray.Version}} {
			for _, s := range list {
				if strings.HasPrefix(s, "-") || strings.ContainsAny(s, "\n\x00$`\\") {
					t.Fatalf("%q passed", s)
				}
			}
		}
		if _, err := Check(r); err != nil {
			var bad *RecipeError
			if !errors.As(err, &bad) {
				t.Fatalf("check: %#v", err)
			}
		}
	})
}
