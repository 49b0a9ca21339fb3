package layers

import (
	"strings"
	"testing"
)

// What pip 23 says of a conflict and of failing builds. Real cases F2a, F2b, F2d.
func TestCaseF2PipsReasonsAreWhole(t *testing.T) {
	t.Parallel()
	const failed = `  error: subprocess-exited-with-error

  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> See above for output.
`
	output := func(lines ...string) string {
		log := "2026-12-01T08:40:32,618   Running command pip subprocess to install build dependencies\n" +
			"2026-12-01T08:40:34,946   Collecting setuptools>=40.8.0\n" +
			"2026-12-01T08:40:37,565   Running command Getting requirements to build wheel\n"
		for _, line := range lines {
			log += "2026-12-01T08:40:38,017   " + line + "\n\n"
		}
		return log + "2026-12-01T08:40:38,100   ERROR: [present-rich] Getting requirements to build wheel exited " +
			"with 1\n" +
			"2026-12-01T08:40:38,115   Exception information:\n"
	}
	traceback := []string{"Traceback (most recent call last):"}
	for range 20 {
		traceback = append(traceback, "  File \"setup.py\", line 1, in <module>", "    f()")
	}
	traceback = append(traceback, "RuntimeError: no swig")
	for name, tt := range map[string]struct {
		stdout, stderr string
		log            string
		want           []string
		not            []string
	}{
		"a conflict": {
			stdout: "Collecting starlette<=0.34.0\nCollecting fastapi==0.115.0\n\n" +
				"The conflict is caused by:\n" +
				"    The user requested starlette<=0.34.0\n" +
				"    fastapi 0.115.0 depends on starlette<0.39.0 and >=0.37.2\n\n" +
				"To fix this you could try to:\n1. loosen the range of package versions you've specified\n",
			stderr: "ERROR: Cannot install fastapi==0.115.0 and starlette<=0.34.0 because these package versions " +
				"have conflicting dependencies.\nERROR: ResolutionImpossible: for help visit https://pip.pypa.io\n",
			want: []string{"these are in each other's way:", "the recipe asks for starlette<=0.34.0",
				"fastapi 0.115.0 depends on starlette<0.39.0 and >=0.37.2"},
			not: []string{"loosen", "ResolutionImpossible"},
		},
		"a conflict with what is there": {
			stdout: "The conflict is caused by:\n    The user requested wheel==0.41.2\n" +
				"    The user requested (constraint) wheel==0.45.1\n\nTo fix this",
			want: []string{"the recipe asks for wheel==0.41.2",
				"wheel==0.45.1 (what is there already, or a constraint)"},
		},
		"a package that says what to use": {
			stdout: "Collecting sklearn (from -r /work/in/requirements.txt (line 2))\n" +
				"  Downloading sklearn.tar.gz (2.6 kB)\n",
			stderr: failed,
			log: output("The 'sklearn' PyPI package is deprecated, use 'scikit-learn'",
				"rather than 'sklearn' for pip commands."),
			want: []string{"the sources of sklearn cannot be built:", "use 'scikit-learn'", "apt packages: name there"},
			not:  []string{"See above", "requirements.txt"},
		},
		"a package that another one asks for": {
			stdout: "Collecting tensortrade==1.0.1b0\n" +
				"Collecting symfit (from tensortrade==1.0.1b0->-r /work/in/r.txt (line 1))\n",
			stderr: failed,
			log:    output(traceback...),
			want: []string{"the sources of symfit (from tensortrade==1.0.1b0) cannot be built:", "Traceback",
				"RuntimeError: no swig", "..."},
		},
		"anything else": {
			stderr: "WARNING: Retrying\nERROR: No matching distribution found for nope\n[notice] A new release\n",
			want:   []string{"No matching distribution found for nope"}, not: []string{"Retrying", "notice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := pipReason(tt.stdout, tt.stderr, tt.log)
			if n := strings.Count(got, "\n") + 1; n > 15 {
				t.Errorf("%d lines, want at most 15:\n%s", n, got)
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is missing in:\n%s", w, got)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(got, w) {
					t.Errorf("%q should not be in:\n%s", w, got)
				}
			}
		})
	}
}

// A lock whose source distributions are built with the recipe's apt packages does not fit when these change.
func TestBuildsFollowAptPackages(t *testing.T) {
	t.Parallel()
	one, two := Apt{Packages: []string{"libpq-dev"}}, Apt{Packages: []string{"libpq-dev", "swig"}}
	deb, wheel := Artifact{Kind: KindDeb, Name: "gcc"}, Artifact{Kind: KindWheel, Name: "x"}
	with := LockLayer{Name: "ray", Inputs: builtWith("sha256:in", one), Artifacts: []Artifact{deb, wheel}}
	without := LockLayer{Name: "ray", Inputs: "sha256:in", Artifacts: []Artifact{wheel}}
	for what, ok := range map[string]bool{
		"built with these":             with.fits("ray", "sha256:in", one),
		"built with others":            !with.fits("ray", "sha256:in", two),
		"other inputs":                 !with.fits("ray", "sha256:other", one),
		"nothing is built":             without.fits("ray", "sha256:in", one) && without.fits("ray", "sha256:in", two),
		"another layer":                !with.fits("env", "sha256:in", one),
		"apt's own packages are debs":  !buildsWith("apt", []Artifact{deb}, one),
		"a compiler and no apt of own": !buildsWith("ray", []Artifact{deb}, Apt{}),
	} {
		if !ok {
			t.Errorf("%s: it fits, or does not, as it should not", what)
		}
	}
}
