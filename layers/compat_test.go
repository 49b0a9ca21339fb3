package layers

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestCombinationsThatCannotWork(t *testing.T) {
	t.Parallel()
	newest := newestRay()
	for text, want := range map[string][]string{
		"ray: {version: 0.8.6, extras: [tune]}\n" +
			"env: {python: 3.12}": {"ray.version: Ray 0.8.6 has no wheel for Python 3.12; use env.python 3.6, 3.7 or " +
			"3.8, or ray " + newest},
		"ray: {version: 2.60.0}\nenv: {python: 3.6}": {"ray.version: Ray " +
			"2.60.0 has no wheel for Python 3.6; use env.python 3.10, 3.11, 3.12, 3.13 or 3.14, or ray 2.4.0"},
		"ray: {version: 2.60.0}\nenv: {python: 3.14}": nil,
		"ray: {version: 2.54.1}\nenv: {python: 3.14}": {
			"ray.version: Ray 2.54.1 has no wheel for Python 3.14; use env.python 3.10, 3.11, 3.12 or 3.13, or ray " +
				newest,
		},
		"ray: {version: 2.51.2}\nenv: {python: 3.9}": nil,
		"ray: {version: 2.52.0}\nenv: {python: 3.9}": {"ray.version: Ray " +
			"2.52.0 has no wheel for Python 3.9; use env.python 3.10, 3.11, 3.12 or 3.13, or ray 2.51.2"},
		"ray: {version: 2.8.0}\nenv: {python: 3.7}": {"ray.version: Ray " +
			"2.8.0 has no wheel for Python 3.7; use env.python 3.8, 3.9, 3.10 or 3.11, or ray 2.7.2"},
		"ray: {version: 2.11.0}\nenv: {python: 3.8}": {"ray.version: Ray " +
			"2.11.0 has no wheel for Python 3.8; use env.python 3.9, 3.10 or 3.11, or ray 2.10.0"},
		"ray: {version: 2.44.1}\nenv: {python: 3.13}": {
			"ray.version: Ray 2.44.1 has no wheel for Python 3.13; use env.python 3.9, 3.10, 3.11 or 3.12, or ray " +
				newest,
		},
		"ray: {version: 2.12.0}\nenv: {python: 3.11}\n" +
			"platforms: [linux/arm64]": {"platforms: Ray 2.12.0 has no wheel for linux/arm64; use " +
			"linux/amd64, or ray " + newest},
		"ray: {version: 2.60.0}\nenv: {python: 3.15}": {"ray.version: Ray " +
			"2.60.0 has no wheel for Python 3.15; use env.python 3.10, 3.11, 3.12, 3.13 or 3.14"},
		"ray: {version: 2.60.0, extras: [rllib]}\n" +
			"pip: ['gymnasium>=1.3']": {"pip: the recipe asks for gymnasium>=1.3, and the extra rllib of Ray 2.60.0 " +
			"takes gymnasium 1.2.2 alone; write gymnasium==1.2.2, leave gymnasium out, or leave rllib out " +
			"of ray.extras"},
		"ray: {version: 2.60.0, extras: [rllib]}\npip: ['gymnasium>=1.2']": nil,
		"ray: {version: 2.60.0, extras: [tune]}\npip: ['gymnasium>=1.3']":  nil,
		"ray: {version: 2.5.0, extras: [client]}\n" +
			"env: {python: 3.10}": {
			`ray.extras: Ray 2.5.0 has no extra "client"; known are air, all, cpp, data, default, k8s, observability, rllib, serve, train, tune`,
		},
		"ray: {version: 0.8.6, extras: [tune]}\nenv: {python: 3.7}\n" +
			"platforms: [linux/arm64]": {"platforms: Ray 0.8.6 has no wheel for linux/arm64; use linux/amd64, " +
			"or ray 2.7.2"},
		"ray: {version: 2.15.0}\nenv: {python: '3.10'}": {"ray.version: Ray 2.15.0 was " +
			"never released; use 2.12.0 or 2.20.0"},
		"ray: {version: 2.26.0}\nenv: {python: '3.10'}": {"ray.version: Ray 2.26.0 was " +
			"never released; use 2.24.0 or 2.30.0"},
		"ray: {version: 2.52.0, extras: [rlib]}": {
			`ray.extras: Ray 2.52.0 has no extra "rlib"; did you mean "rllib"?`,
		},
		"ray: {version: 0.8.6, extras: [default]}\n" +
			"env: {python: 3.7}": {
			`ray.extras: Ray 0.8.6 has no extra "default"; known are all, dashboard, debug, rllib, serve, streaming, tune`,
		},
		"base: ubuntu:18.04": {"miniconda.version: the installer of miniconda py312_26.7.1-1 needs glibc 2.28, and " +
			"ubuntu:18.04 has 2.27; use {distribution: miniforge, version: 26.7.2-0}, an older Miniconda such as " +
			"py37_4.8.2, or a newer base"},
		"base: docker.io/library/ubuntu:xenial@sha256:" + strings.Repeat("a", 64): {"miniconda.version: the " +
			"installer of miniconda py312_26.7.1-1 needs glibc 2.28, and ubuntu:16.04 has 2.23; use {distribution: " +
			"miniforge, version: 26.7.2-0}, an older Miniconda such as py37_4.8.2, or a newer base"},
		"base: ubuntu:16.04\nminiconda: {distribution: miniforge}": nil,
		"base: ubuntu:16.04\nminiconda: {version: py37_4.8.2}":     nil,
		"base: registry.example/ubuntu:16.04":                      nil,
		"miniconda: {version: py37_4.8.2}\nplatforms: [linux/arm64]": {"miniconda.version: miniconda " +
			"py37_4.8.2 was not built for linux/arm64; use py312_26.7.1-1"},
		"miniconda: {version: py39_1.2.3-0}": {"miniconda.version: the " +
			"digest of Miniconda3-py39_1.2.3-0-Linux-x86_64.sh is not known; add miniconda.sha256 with the digest " +
			"that https://repo.anaconda.com/miniconda/ gives, or use py312_26.7.1-1"},
		"miniconda: {version: py39_1.2.3-0, sha256: " + strings.Repeat("a", 64) + "}": nil,
		"apt: [python-software-properties]": {"apt: Ubuntu 22.04 has no " +
			"package python-software-properties; use software-properties-common"},
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
	t.Parallel()
	for text, want := range map[string][]string{
		"":                       nil,
		"ray: {version: 2.49.0}": {"click<8.3", "protobuf<7"},
		"ray: {version: 2.53.0}": {"protobuf<7"},
		"ray: {version: 2.56.0}": {"protobuf<7"},
		"ray: {version: 2.56.1}": nil,
		"ray: {version: 2.31.0}": {"click<8.3", "numpy<2", "protobuf<7"},
		"ray: {version: 2.8.1}\nenv: {python: '3.10'}": {"click<8.3", "numpy<2", "protobuf<5",
			"pydantic<2", "conda setuptools<71"},
		"ray: {version: 1.9.0}\nenv: {python: 3.8}": {"click<=8.0.4", "grpcio<=1.43.0",
			"gym<0.22", "numpy<1.24", "prometheus-client<0.14", "protobuf<4", "pydantic<2", "redis<4",
			"conda setuptools<71"},
		"ray: {version: 2.49.0}\npip: ['click==8.3.0']": {"protobuf<7"},
		"ray: {version: 2.49.0}\npip: [click]":          {"click<8.3", "protobuf<7"},
		"ray: {version: 2.9.3}\nenv: {python: '3.10', conda: ['setuptools=69']}": {"click<8.3", "numpy<2",
			"protobuf<5"},
		"ray: {version: 0.8.6, extras: [tune]}\n" +
			"env: {python: 3.6}": {"click<=8.0.4", "grpcio<1.49", "numpy<1.24", "prometheus-client<0.14", "protobuf<4",
			"conda setuptools<71"},
		"ray: {version: 0.8.6, extras: [rllib]}\n" +
			"env: {python: 3.6}": {"atari-py==0.2.6", "click<=8.0.4", "dm-tree<0.1.7", "grpcio<1.49",
			"gym>=0.17.1,<0.18", "numpy<1.24",
			"opencv-python-headless<=4.3.0.36", "prometheus-client<0.14", "protobuf<4", "conda setuptools<71"},
	} {
		r := loadText(t, text)
		notes, err := Check(r)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		pins := func() []string {
			all := slices.Clone(r.Pins)
			for _, p := range r.CondaPins {
				all = append(all, "conda "+p)
			}
			return all
		}
		if !slices.Equal(pins(), want) {
			t.Errorf("%s: pins %q, want %q", text, pins(), want)
		}
		if len(notes) < len(want) {
			t.Errorf("%s: %d pins and %d notes", text, len(want), len(notes))
		}
		before := r.Digest()
		if again, _ := Check(r); !reflect.DeepEqual(again, notes) || !slices.Equal(pins(), want) ||
			r.Digest() != before {
			t.Errorf("%s: checking twice is not the same", text)
		}
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	newest := newestRay()
	for text, want := range map[string]string{
		"ray: {version: 9.0.0}": "ray.version: Ray 9.0.0 is newer than every Ray that raybuild knows (" +
			newest + "): raybuild assumes that it works with what " + newest + " works with",
		"ray: {version: 2.57.9}": "ray.version: raybuild knows no Ray 2.57.9 on PyPI: it assumes " +
			"that this Ray works with what 2.57.1 works with",
		"ray: {version: 2.60.0rc1}": "ray.version: " +
			"raybuild knows no Ray 2.60.0rc1 on PyPI: it assumes that this Ray works with what 2.60.0 works with",
		"ray: {version: 1.7.1}\nenv: {python: 3.8}": "ray.version: Ray " +
			"1.7.1 was withdrawn from PyPI (https://github.com/ray-project/ray/issues/19813): use 1.8.0",
		"ray: {version: 2.60.0}\nenv: {python: 3.14}": "ray.extras: RLlib on " +
			"Python 3.14 is little tried: conda-forge left it out there in May 2026; 3.12 is safe",
		"ray: {version: 2.9.3}\nenv: {python: '3.10', conda: " +
			"['conda-forge::setuptools =82']}": "env.conda: Ray 2.9.3 " +
			"is known to need setuptools<71 (Ray imports pkg_resources._vendor, which later setuptools " +
			"have not); the recipe's own \"conda-forge::setuptools =82\" is used instead",
		"base: ubuntu:25.10": "base: the support of Ubuntu 25.10 ended on " +
			"2026-07-09: there are no updates since then",
		"base: ubuntu:20.04": "base: the standard support of Ubuntu 20.04 " +
			"ended on 2025-05-31: security updates since then need Ubuntu Pro (ESM)",
		"ray: {version: 0.8.5}\nenv: {python: 3.6}": "ray.version: Ray 0.8.5 is older than every Ray that " +
			"raybuild knows (0.8.6): raybuild checks nothing about it",
		"ray: {version: 2.59.0, extras: [tune]}": "ray.extras: without the extra default Ray has " +
			"no dashboard, no jobs and no health checks over HTTP",
		"ray: {version: 0.8.6, extras: [serve]}\n" +
			"env: {python: 3.7}": "ray.extras: the extra serve of Ray 0.8.6 needs blist, which no compiler of today " +
			"builds; leave the extras serve and all out if this fails",
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
	t.Parallel()
	rows := rayRows()
	for i, r := range rows {
		if r.Source == "" || len(r.Extras) == 0 {
			t.Errorf("row of Ray %s is not whole: %+v", r.From, r)
		}
		if i > 0 && compareDotted(rows[i-1].From, r.From) >= 0 {
			t.Errorf("row of Ray %s is not in order", r.From)
		}
		if _, _, exact := rayReleaseOf(r.From); !exact {
			t.Errorf("row of Ray %s begins with a release that is not on PyPI", r.From)
		}
	}
	releases := rayReleases()
	if want := strings.Count(wheelData, "\n") - strings.Count(wheelData, "#"); len(releases) != want || want < 100 {
		t.Errorf("%d releases are read of %d rows", len(releases), want)
	}
	for i, r := range releases {
		if m, _ := nameRayVersion.Check(r.version); m != "" || len(r.allPythons()) == 0 {
			t.Errorf("release %+v is not whole: %s", r, m)
		}
		for _, python := range r.allPythons() {
			if m, _ := namePython.Check(python); m != "" {
				t.Errorf("release %s: %s", r.version, m)
			}
		}
		if i > 0 && compareDotted(releases[i-1].version, r.version) >= 0 {
			t.Errorf("release %s is not in order", r.version)
		}
	}
	for _, b := range breakageRows() {
		if _, m, _ := parseRequirement(b.Pin); b.Conda == "" && m != "" ||
			b.Conda != "" && (b.Pin != "" || condaName(b.Conda) == "") ||
			b.Why == "" || b.Source == "" || b.Until == "" {
			t.Errorf("breakage %+v: %s", b, m)
		}
	}
	for _, r := range installerRows() {
		if m, _ := installerVersion(r.Version); m != "" || r.Source == "" || len(r.SHA256) == 0 {
			t.Errorf("installer %+v: %s", r, m)
		}
		for machine, sum := range r.SHA256 {
			if m, _ := nameSHA256.Check(sum); m != "" {
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
	t.Parallel()
	a := Miniconda{Distribution: "miniconda", Version: "py312_26.7.1-1"}.Installer("linux/arm64")
	if a.URL() != "https://repo.anaconda.com/miniconda/Miniconda3-py312_26.7.1-1-Linux-aarch64.sh" ||
		a.SHA256[:8] != "f6d64a15" {
		t.Errorf("got %+v", a)
	}
	a = Miniconda{Distribution: "miniforge", Version: "26.7.2-0"}.Installer("linux/amd64")
	if a.URL() !=
		"https://github.com/conda-forge/miniforge/releases/download/26.7.2-0/Miniforge3-26.7.2-0-Linux-x86_64.sh" ||
		a.SHA256[:8] != "281b0ac7" {
		t.Errorf("got %+v", a)
	}
	for version, want := range map[string]string{"py312_24.11.1-0": "2.28", "py312_24.3.0-0": "", "py37_4.8.2": "",
		"4.7.12.1": "", "py310_26.7.1-1": "2.28"} {
		if got := (Miniconda{Distribution: "miniconda", Version: version}).minGlibc(); got != want {
			t.Errorf("%s needs glibc %q, want %q", version, got, want)
		}
	}
	if err := checkGlibc(Miniconda{Distribution: "miniconda", Version: "py312_26.7.1-1"}, "h.example/base:1",
		"2.27"); err == nil || !strings.Contains(err.Error(), "h.example/base:1 has 2.27") {
		t.Errorf("got %v", err)
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	for specifier, want := range map[string]bool{
		"": true, "==1.2.2": true, "==1.2": false, "==1.2.*": true, "==1.*": true, "==1.20.*": false, "!=1.2.2": false,
		"!=1.2.*": false, "!=1.3": true,
		">=1.2.2": true, ">=1.3": false, ">1.2.2": false, ">1.2": true, "<1.2.2": false, "<=1.2.2": true,
		"<2,>=1": true, "<2,>=1.3": false,
		"~=1.2": true, "~=1.2.0": true, "~=1.3": false, "~=1.1.0": false, "===1.2.2": true, ">=1.3rc1": true,
		"==1.2.2.post1": true,
	} {
		if got := allows(specifier, "1.2.2"); got != want {
			t.Errorf("%q allows 1.2.2: %v, want %v", specifier, got, want)
		}
	}
}

// What Ray needs of conda's packages is asked of conda, and is part of what the lock answers.
func TestCondaPinsAreResolved(t *testing.T) {
	t.Parallel()
	inputs := func(text string) (map[string]digest.Digest, *Recipe) {
		r := loadText(t, text)
		if _, err := Check(r); err != nil {
			t.Fatal(err)
		}
		in, err := layerInputs(r, "sha256:x")
		if err != nil {
			t.Fatal(err)
		}
		return in, r
	}
	old, r := inputs("ray: {version: 2.9.3}\nenv: {python: '3.10'}")
	now, _ := inputs("ray: {version: 2.60.0}\nenv: {python: '3.10'}")
	if old["env"] == now["env"] {
		t.Error("the environment of Ray 2.9.3 is that of 2.60.0: setuptools<71 is not asked for")
	}
	for _, l := range recipeLayers(r, nil) {
		if e, ok := l.(env); ok && !slices.Contains(e.pins, "setuptools<71") {
			t.Errorf("the layer env has pins %q", e.pins)
		}
	}
}
