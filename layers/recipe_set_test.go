package layers

import (
	"reflect"
	"strings"
	"testing"
)

func TestSets(t *testing.T) {
	t.Parallel()
	const text = "apt: [vim]\npip: [torch]\nenv: {python: 3.11}\nsteps: [{name: a, run: x}]\nmirrors: {fetch: [tuna]}\n"
	tests := []struct {
		name string
		sets []string
		got  func(*Recipe) any
		want any
	}{
		{"a value", []string{"env.python=3.10"}, func(r *Recipe) any { return r.Env.Python }, "3.10"},
		{"the last one counts", []string{"ray.version=2.50.0", "ray.version=2.52.0"},
			func(r *Recipe) any { return r.Ray.Version }, "2.52.0"},
		{"a reference with colons", []string{"base=127.0.0.1:5000/base:x"}, func(r *Recipe) any { return r.Base },
			"127.0.0.1:5000/base:x"},
		{"a list", []string{"apt=[git, wget]"}, func(r *Recipe) any { return r.Apt.Packages }, []string{"git", "wget"}},
		{"a place of a list", []string{"apt.0=git"}, func(r *Recipe) any { return r.Apt.Packages }, []string{"git"}},
		{"the long form of a short one", []string{"pip.wheels=[a.whl]"}, func(r *Recipe) any { return r.Pip },
			Pip{Packages: []string{"torch"}, Wheels: []string{"a.whl"}}},
		{"below a list", []string{"steps.0.network=true"}, func(r *Recipe) any { return r.Steps[0].Network }, true},
		{"a key with dots", []string{"image.labels.org.opencontainers.image.title=Ray"},
			func(r *Recipe) any { return r.Image.Labels }, map[string]string{"org.opencontainers.image.title": "Ray"}},
		{"nothing: the default again", []string{"env.python=", "apt="},
			func(r *Recipe) any { return r.Env.Python + strings.Join(r.Apt.Packages, "") }, "3.12"},
		{"a mirror of one's own", []string{"mirrors.fetch={pip: 'http://127.0.0.1:1/simple'}"},
			func(r *Recipe) any { return r.Mirrors.Fetch[0].Name }, "127.0.0.1:1"},
		{"a value with =", []string{"apt=[vim=2:9]"}, func(r *Recipe) any { return r.Apt.Packages },
			[]string{"vim=2:9"}},
		{"where nothing was", []string{"miniconda.accept_anaconda_terms=true"},
			func(r *Recipe) any { return r.Miniconda.AcceptAnacondaTerms }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got(loadText(t, text, tt.sets...)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestSetsRefused(t *testing.T) {
	t.Parallel()
	const text = "apt: [vim]\nenv: {python: 3.11}\n"
	for set, want := range map[string]string{
		"env.pyhton=3.9":      `--set env.pyhton: env.pyhton: unknown key; did you mean "python"?`,
		"env.python=2.7":      `--set env.python: env.python: "2.7" is not a Python version; write "3.12" or "3.12.4", in quotes`,
		"env.python":          `--set "env.python": is not KEY=VALUE; write it as in --set ray.version=2.60.0`,
		"=3":                  `--set "": is not KEY=VALUE; write it as in --set ray.version=2.60.0`,
		"env python=3":        `--set "env python": is not KEY=VALUE; write it as in --set ray.version=2.60.0`,
		"apt.7=git":           `--set apt.7: the recipe has a list of 1 here, and "7" is none of its places; set the whole list, or give a place counted from 0`,
		"env.python.x=1":      `--set env.python.x: the recipe has a number here, and "x" would be below it; set the key above it as a whole`,
		"ray=[a":              `--set ray: not valid YAML: did not find expected ',' or ']'; check indentation, quotes and brackets around here`,
		"image.env.A=b: c":    `--set image.env.A: image.env.A: is a mapping, not text; write text`,
		"base=a\x00b":         `--set base: control character U+0000; remove it`,
		"base=&a b":           `--set base: anchors and aliases are not supported; write the value out`,
		"steps.0.network=yes": `--set steps.0.network: steps: is a mapping, not a list of steps; write a list of steps`,
	} {
		t.Run(set, func(t *testing.T) {
			if got := problemsOf(t, text, set); !reflect.DeepEqual(got, []string{want}) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), want)
			}
		})
	}
	// A broken set and a broken file are told together.
	if got := problemsOf(t, "bse: x\n", "env.name=base"); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	base := loadText(t, everything)
	same := map[string]string{
		"another order": strings.Replace(everything, "[wget, vim, git]", "[git, vim, wget, vim]", 1),
		"another form": strings.Replace(everything, "apt: [wget, vim, git]",
			"apt: {packages: [vim, wget, git], repositories: []}", 1),
		"mirrors":            strings.Replace(everything, "fetch: [tuna, official]", "fetch: [ustc]", 1),
		"the image's mirror": strings.Replace(everything, "image: tuna", "image: ustc", 1),
		"files":              strings.Replace(everything, "from: ./app", "from: ./other", 1),
		"steps":              strings.Replace(everything, "echo $HOME", "echo", 1),
		"the image's config": strings.Replace(everything, "workdir: /home/ray", "workdir: /", 1),
		"spelling":           strings.Replace(everything, `"requests>=2"`, `"Requests >= 2"`, 1),
	}
	for name, text := range same {
		if text == everything {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if got := loadText(t, text).Digest(); got != base.Digest() {
			t.Errorf("%s changed the digest", name)
		}
	}
	other := map[string]string{
		"base": "ubuntu:22.04->ubuntu:24.04", "apt": "vim, git->vim", "installer": "py312_25.7.0-2->py312_26.7.1-1",
		"env name": "{name: ray, python->{name: rey, python",
		"python":   "3.10->3.11", "conda": "libgcc-ng->libstdcxx-ng", "channels": "[conda-forge]->[bioconda]",
		"ray": "2.52.0->2.51.0", "extras": "tune, default, rllib->tune",
		"pip": "tensorflow->torch", "platforms": "linux/arm64, ->",
	}
	for name, change := range other {
		from, to, _ := strings.Cut(change, "->")
		text := strings.Replace(everything, from, to, 1)
		if text == everything {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if loadText(t, text).Digest() == base.Digest() {
			t.Errorf("%s did not change the digest", name)
		}
	}
}
