package main

import (
	"errors"
	"slices"
	"testing"
)

func TestVersionsAreOrderedAsCondaDoes(t *testing.T) {
	// In rising order, as conda's documentation of VersionOrder has it; equal ones stand side by side in one row.
	rows := [][]string{
		{"0.4", "0.4.0"}, {"0.4.1.rc", "0.4.1.RC"}, {"0.4.1"}, {"0.5a1"}, {"0.5b3"}, {"0.5C1"}, {"0.5"}, {"0.9.6"},
		{"0.960923"}, {"1.0"},
		{"1.1dev1"}, {"1.1a1"}, {"1.1.0dev1", "1.1.dev1"}, {"1.1.a1"}, {"1.1.0rc1"}, {"1.1.0", "1.1"},
		{"1.1.0post1", "1.1.post1"}, {"1.1post1"}, {"1996.07.12"},
		{"1!0.4.1"}, {"1!3.1.1.6"}, {"2!0.4.1"},
	}
	for i, row := range rows {
		for _, a := range row {
			for _, b := range row {
				if compareVersions(a, b) != 0 {
					t.Errorf("%s and %s differ", a, b)
				}
			}
			for _, later := range rows[i+1:] {
				for _, b := range later {
					if compareVersions(a, b) >= 0 || compareVersions(b, a) <= 0 {
						t.Errorf("%s is not before %s", a, b)
					}
				}
			}
		}
	}
}

func TestSpecsMatch(t *testing.T) {
	for _, c := range []struct {
		spec          string
		version       string
		build         string
		want          bool
		name, channel string
	}{
		{"python=3.11", "3.11.4", "0", true, "python", ""},
		{"python=3.11", "3.1.1", "0", false, "python", ""},
		{"python=3.1", "3.11.4", "0", false, "python", ""},
		{"python==3.11", "3.11.4", "0", false, "python", ""},
		{"python==3.11", "3.11", "0", true, "python", ""},
		{"python 3.11.*", "3.11.4", "0", true, "python", ""},
		{"python >=3.8,<4", "3.11", "0", true, "python", ""},
		{"python>=3.8,<3.11", "3.11", "0", false, "python", ""},
		{"python >= 3.8 , < 3.11", "3.10.2", "0", true, "python", ""},
		{"python !=3.11.2", "3.11.2", "0", false, "python", ""},
		{"python !=3.11.*", "3.11.2", "0", false, "python", ""},
		{"python ~=3.11.1", "3.11.9", "0", true, "python", ""},
		{"python ~=3.11.1", "3.12", "0", false, "python", ""},
		{"python 3.10|3.11.2", "3.11.2", "0", true, "python", ""},
		{"python=3.11.2=h1_0", "3.11.2", "h1_0", true, "python", ""},
		{"python=3.11.2=h1_0", "3.11.2", "h1_1", false, "python", ""},
		{"python_abi 3.11.* *_cp311", "3.11", "1_cp311", true, "python_abi", ""},
		{"python_abi 3.11.* *_cp311", "3.11", "1_cp312", false, "python_abi", ""},
		{"conda-forge::Hello", "1", "0", true, "hello", "conda-forge"},
		{"numpy[version='>=1.2,<2',build=py_0]", "1.5", "py_0", true, "numpy", ""},
		{"numpy[version='>=1.2,<2',build=py_0]", "2.5", "py_0", false, "numpy", ""},
		{"numpy *", "2.5", "py_0", true, "numpy", ""},
	} {
		t.Run(c.spec+" against "+c.version, func(t *testing.T) {
			s, err := parseSpec(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if s.name != c.name || s.channel != c.channel {
				t.Errorf("read as %+v", s)
			}
			if got := s.matches(c.name, c.version, c.build); got != c.want {
				t.Errorf("matches: %t, want %t; read as %+v", got, c.want, s)
			}
		})
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"python=3.11", "a >=1,<2 b*", "c::n[version='1']", "=", "[", "a==", "1!2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpec(text)
		if err != nil {
			return
		}
		if s.name == "" {
			t.Errorf("%q has no name and no error", text)
		}
		s.matches(s.name, "1.2.3", "0") // must not panic
		compareVersions(text, s.version)
	})
}

func rec(name, version string, depends ...string) *record {
	return &record{Name: name, Version: version, Build: "0", Depends: depends, Subdir: "noarch",
		fn: name + "-" + version + "-0.conda"}
}

func names(list []*record) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.Name+"-"+r.Version)
	}
	return out
}

func TestSolver(t *testing.T) {
	world := []*record{
		rec("a", "2", "b >=2"), rec("a", "1", "b <2"), rec("b", "2", "c 1"), rec("b", "1"), rec("c", "2"),
		rec("c", "1"),
		rec("glib", "1", "__glibc >=2.30"), rec("loop", "1", "loop2"), rec("loop2", "1", "loop"),
		rec("broken", "1", "nowhere"), rec("gpu", "2", "__cuda >=12"), rec("gpu", "1"), rec("gpu-only", "1", "gpu 2"),
		rec("newer", "1", "__cuda >=12.8"),
	}
	t.Setenv("CONDA_OVERRIDE_GLIBC", "2.28")
	t.Setenv("CONDA_OVERRIDE_CUDA", "12.6")
	for name, c := range map[string]struct {
		specs, pins []string
		want        []string
		fails       string
	}{
		"the newest of each":            {[]string{"a", "c=1"}, nil, []string{"c-1", "b-2", "a-2"}, ""},
		"goes back where it must":       {[]string{"a", "c=2"}, nil, []string{"b-1", "c-2", "a-1"}, ""},
		"a pin":                         {[]string{"a"}, []string{"b=1"}, []string{"b-1", "a-1"}, ""},
		"a cycle ends":                  {[]string{"loop"}, nil, []string{"loop-1", "loop2-1"}, ""},
		"a virtual package is too old":  {[]string{"glib"}, nil, nil, "UnsatisfiableError"},
		"a GPU":                         {[]string{"gpu-only"}, nil, []string{"gpu-2", "gpu-only-1"}, ""},
		"another GPU":                   {[]string{"newer"}, nil, nil, "UnsatisfiableError"},
		"a contradiction":               {[]string{"a=2", "b=1"}, nil, nil, "UnsatisfiableError"},
		"a dependency that is nowhere":  {[]string{"broken"}, nil, nil, "UnsatisfiableError"},
		"an unknown package":            {[]string{"a", "zzz"}, nil, nil, "PackagesNotFoundInChannelsError"},
		"an unknown version of a known": {[]string{"a=9"}, nil, nil, "PackagesNotFoundInChannelsError"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{conf: &config{version: newest, pinned: c.pins}}
			var specs []spec
			for _, s := range c.specs {
				p, err := parseSpec(s)
				if err != nil {
					t.Fatal(err)
				}
				specs = append(specs, p)
			}
			got, err := a.solve(world, specs, nil, nil)
			if c.fails != "" {
				if e := (*condaError)(nil); !errors.As(err, &e) || e.name != c.fails {
					t.Errorf("error %v, want %s", err, c.fails)
				}
				return
			}
			if err != nil || !slices.Equal(names(got), c.want) {
				t.Errorf("got %v, %v, want %v", names(got), err, c.want)
			}
		})
	}
}
