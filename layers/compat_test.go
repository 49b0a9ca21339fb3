package layers

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCombinationsThatCannotWork(t *testing.T) {
	for text, want := range map[string][]string{
		"ray: {version: 0.8.6, extras: [tune]}\nenv: {python: 3.12}": {"ray.version: Ray 0.8.6 has no wheel for Python 3.12; use env.python 3.5, 3.6, 3.7 or 3.8, or ray 2.59.0"},
		"env: {python: 3.6}":                         {"ray.version: Ray 2.59.0 has no wheel for Python 3.6; use env.python 3.10, 3.11, 3.12 or 3.13, or ray 2.4.0"},
		"ray: {version: 2.53.0}\nenv: {python: 3.9}": nil,
		"ray: {version: 2.54.0}\nenv: {python: 3.9}": {"ray.version: Ray 2.54.0 has no wheel for Python 3.9; use env.python 3.10, 3.11, 3.12 or 3.13, or ray 2.53.0"},
		"ray: {version: 0.8.6, extras: [tune]}\nenv: {python: 3.7}\nplatforms: [linux/arm64]": {"platforms: Ray 0.8.6 has no wheel for linux/arm64; use linux/amd64, or ray 2.59.0"},
		"ray: {version: 2.15.0}\nenv: {python: '3.10'}":                                       {"ray.version: Ray 2.15.0 was never released; use 2.12.0 or 2.20.0"},
		"ray: {version: 2.26.0}\nenv: {python: '3.10'}":                                       {"ray.version: Ray 2.26.0 was never released; use 2.24.0 or 2.30.0"},
		"ray: {version: 2.52.0, extras: [rlib]}":                                              {`ray.extras: Ray 2.52.0 has no extra "rlib"; did you mean "rllib"?`},
		"ray: {version: 0.8.6, extras: [default]}\nenv: {python: 3.7}":                        {`ray.extras: Ray 0.8.6 has no extra "default"; known are all, dashboard, debug, rllib, serve, streaming, tune`},
		"base: ubuntu:18.04": {"miniconda.version: the installer of miniconda py312_26.7.1-1 needs glibc 2.28, and ubuntu:18.04 has 2.27; use {distribution: miniforge, version: 26.3.2-3}, an older Miniconda such as py37_4.8.2, or a newer base"},
		"base: docker.io/library/ubuntu:xenial@sha256:" + strings.Repeat("a", 64):     {"miniconda.version: the installer of miniconda py312_26.7.1-1 needs glibc 2.28, and ubuntu:16.04 has 2.23; use {distribution: miniforge, version: 26.3.2-3}, an older Miniconda such as py37_4.8.2, or a newer base"},
		"base: ubuntu:16.04\nminiconda: {distribution: miniforge}":                    nil,
		"base: ubuntu:16.04\nminiconda: {version: py37_4.8.2}":                        nil,
		"base: registry.example/ubuntu:16.04":                                         nil,
		"miniconda: {version: py37_4.8.2}\nplatforms: [linux/arm64]":                  {"miniconda.version: miniconda py37_4.8.2 was not built for linux/arm64; use py312_26.7.1-1"},
		"miniconda: {version: py39_1.2.3-0}":                                          {"miniconda.version: the digest of Miniconda3-py39_1.2.3-0-Linux-x86_64.sh is not known; add miniconda.sha256 with the digest that https://repo.anaconda.com/miniconda/ gives, or use py312_26.7.1-1"},
		"miniconda: {version: py39_1.2.3-0, sha256: " + strings.Repeat("a", 64) + "}": nil,
		"apt: [python-software-properties]":                                           {"apt: Ubuntu 22.04 has no package python-software-properties; use software-properties-common"},
	} {
		r := loadText(t, text)
		_, err := Check(r)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", text, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

func TestPins(t *testing.T) {
	for text, want := range map[string][]string{
		"":                       nil,
		"ray: {version: 2.49.0}": {"click<8.3"},
		"ray: {version: 2.53.0}": nil,
		"ray: {version: 2.8.1}\nenv: {python: '3.10'}":              {"click<8.3", "pydantic<2"},
		"ray: {version: 1.9.0}\nenv: {python: 3.8}":                 {"click<=8.0.4", "grpcio<=1.43.0", "gym<0.22", "numpy<1.24", "protobuf<4", "pydantic<2", "redis<4"},
		"ray: {version: 2.49.0}\npip: ['click==8.3.0']":             nil,
		"ray: {version: 2.49.0}\npip: [click]":                      {"click<8.3"},
		"ray: {version: 0.8.6, extras: [tune]}\nenv: {python: 3.6}": {"click<=8.0.4", "grpcio<1.49", "numpy<1.24", "protobuf<4"},
		"ray: {version: 0.8.6, extras: [rllib]}\nenv: {python: 3.6}": {"atari-py==0.2.6", "click<=8.0.4", "dm-tree<0.1.7", "grpcio<1.49", "gym>=0.17.1,<0.18", "numpy<1.24",
			"opencv-python-headless<=4.3.0.36", "protobuf<4"},
	} {
		r := loadText(t, text)
		notes, err := Check(r)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !slices.Equal(r.Pins, want) {
			t.Errorf("%s: pins %q, want %q", text, r.Pins, want)
		}
		if len(notes) < len(want) {
			t.Errorf("%s: %d pins and %d notes", text, len(want), len(notes))
		}
		before := r.Digest()
		if again, _ := Check(r); !reflect.DeepEqual(again, notes) || !slices.Equal(r.Pins, want) || r.Digest() != before {
			t.Errorf("%s: checking twice is not the same", text)
		}
	}
}

func TestNotes(t *testing.T) {
	for text, want := range map[string]string{
		"ray: {version: 2.60.0}":                                              "ray.version: Ray 2.60.0 is newer than what raybuild knows (2.59.0): it is taken to work with what 2.59.0 works with",
		"ray: {version: 2.59.0}\nenv: {python: 3.14}":                         "env.python: whether Ray 2.59.0 has wheels for Python 3.14 is not known",
		"ray: {version: 0.8.5}\nenv: {python: 3.6}":                           "ray.version: Ray 0.8.5 is older than what raybuild knows (0.8.6): nothing about it is checked",
		"ray: {version: 2.59.0, extras: [tune]}":                              "ray.extras: without the extra default Ray has no dashboard, no jobs and no health checks over HTTP",
		"ray: {version: 2.2.0}\nenv: {python: 3.8}\nplatforms: [linux/arm64]": "platforms: whether Ray 2.2.0 has wheels for linux/arm64 is not known",
		"ray: {version: 0.8.6, extras: [serve]}\nenv: {python: 3.7}":          "ray.extras: the extra serve of Ray 0.8.6 needs blist, which no compiler of today builds; leave serve and all out if this fails",
	} {
		notes, err := Check(loadText(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !slices.ContainsFunc(notes, func(n Note) bool { return n.Key+": "+n.Message == want }) {
			t.Errorf("%s: notes %v, want one of %q", text, notes, want)
		}
	}
}

// The tables are whole: in order, with sources, with values of their grammars.
func TestTables(t *testing.T) {
	rows := rayRows()
	for i, r := range rows {
		if r.Source == "" || len(r.Extras) == 0 || len(r.Platforms) == 0 || len(r.Pythons) != 2 || compareDotted(r.Newest, r.From) < 0 {
			t.Errorf("row of Ray %s is not whole: %+v", r.From, r)
		}
		if i > 0 && compareDotted(rows[i-1].Newest, r.From) >= 0 {
			t.Errorf("row of Ray %s begins before the one before it ends", r.From)
		}
		for _, v := range []string{r.From, r.Newest} {
			if m, _ := nameRayVersion(v); m != "" {
				t.Error(m)
			}
		}
	}
	for _, b := range breakageRows() {
		if _, m, _ := parseRequirement(b.Pin); m != "" || b.Why == "" || b.Source == "" || b.Until == "" {
			t.Errorf("breakage %+v: %s", b, m)
		}
	}
	for _, r := range installerRows() {
		if m, _ := installerVersion(r.Version); m != "" || r.Source == "" || len(r.SHA256) == 0 {
			t.Errorf("installer %+v: %s", r, m)
		}
		for machine, sum := range r.SHA256 {
			if m, _ := nameSHA256(sum); m != "" {
				t.Errorf("installer %s %s: %s", r.Version, machine, m)
			}
		}
	}
	for _, r := range ubuntuRows() {
		if r.Version == "" || r.Codename == "" || r.Glibc == "" || r.EOL == "" || r.Source == "" {
			t.Errorf("release %+v is not whole", r)
		}
	}
}

func TestInstallers(t *testing.T) {
	a := Miniconda{Distribution: "miniconda", Version: "py312_26.7.1-1"}.Installer("linux/arm64")
	if a.URL() != "https://repo.anaconda.com/miniconda/Miniconda3-py312_26.7.1-1-Linux-aarch64.sh" || a.SHA256[:8] != "f6d64a15" {
		t.Errorf("got %+v", a)
	}
	a = Miniconda{Distribution: "miniforge", Version: "26.3.2-3"}.Installer("linux/amd64")
	if a.URL() != "https://github.com/conda-forge/miniforge/releases/download/26.3.2-3/Miniforge3-26.3.2-3-Linux-x86_64.sh" || a.SHA256[:8] != "84819485" {
		t.Errorf("got %+v", a)
	}
	for version, want := range map[string]string{"py312_24.11.1-0": "2.28", "py312_24.3.0-0": "", "py37_4.8.2": "", "4.7.12.1": "", "py310_26.7.1-1": "2.28"} {
		if got := (Miniconda{Distribution: "miniconda", Version: version}).minGlibc(); got != want {
			t.Errorf("%s needs glibc %q, want %q", version, got, want)
		}
	}
	if err := CheckGlibc(Miniconda{Distribution: "miniconda", Version: "py312_26.7.1-1"}, "h.example/base:1", "2.27"); err == nil || !strings.Contains(err.Error(), "h.example/base:1 has 2.27") {
		t.Errorf("got %v", err)
	}
}
