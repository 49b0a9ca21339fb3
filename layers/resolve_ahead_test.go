package layers

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/raybuild/raybuild/internal/uv"
)

// aheadUV is uv, which finds Ray and setuptools, or nothing.
type aheadUV struct {
	asked []uv.Question
	err   error
}

func (u *aheadUV) Resolve(_ context.Context, q uv.Question) (*uv.Answer, error) {
	u.asked = append(u.asked, q)
	if u.err != nil {
		return nil, u.err
	}
	pypi, tags := "https://files.pythonhosted.org/packages/", "-cp311-cp311-linux_x86_64.whl"
	return &uv.Answer{Packages: []uv.Package{
		{Name: "ray", Version: "2.49.0", SHA256: sumA, Size: 1, URL: pypi + "r/ray-2.49.0" + tags},
		{Name: "setuptools", Version: "80", SHA256: sumA, Size: 1, URL: pypi + "s/setuptools-80-py3-none-any.whl"},
	}}, nil
}

// TestAskAhead: uv is asked for a likely Python while conda resolves, and only where nothing is locked.
func TestAskAhead(t *testing.T) {
	t.Parallel()
	env := LockLayer{Name: "env", Artifacts: []Artifact{{Kind: KindConda, Name: "python", Version: "3.11.9"}}}
	for _, c := range []struct {
		name, recipe string
		old          []LockLayer
		err          error
		python       string // that uv was asked for; "": it was not asked
		packages     []string
	}{
		{"a minor version", "env: {python: '3.11'}", nil, nil, "3.11.99", []string{"ray"}},
		{"a patch release", "env: {python: 3.11.4}", nil, nil, "3.11.4", []string{"ray"}},
		{"nothing fits", "env: {python: '3.11'}", nil, errors.New("nothing fits"), "3.11.99", nil},
		{"conda has answered before", "env: {python: '3.11'}", []LockLayer{env}, nil, "", nil},
		{"pip resolves", "env: {python: '3.11'}\npip: {resolver: pip}", nil, nil, "", nil},
	} {
		r, err := LoadRecipe([]byte("ray: {version: 2.49.0, extras: []}\n"+c.recipe), "raybuild.yaml", nil)
		if err == nil {
			err = r.LoadFiles()
		}
		if err != nil {
			t.Fatal(c.name, err)
		}
		finder := &aheadUV{err: c.err}
		var packages, said []string
		in, end := ResolveInput{Recipe: r, Sources: &emptyFiles{},
			Python: func(context.Context) (PythonResolver, error) { return finder, nil },
			Log:    func(format string, _ ...any) { said = append(said, format) },
			Ahead:  func(all []Artifact) { packages = namesOf(all) }}.shared()
		res := &Resolver{in: in, name: "linux/amd64", old: &LockPlatform{Layers: c.old}, locked: &LockPlatform{},
			stack: Stack{Tool: LockImage{Glibc: "2.35"}}}
		res.ahead = res.askAhead(t.Context(), recipeLayers(r, nil))
		res.waitAhead()
		if err := end(); err != nil {
			t.Error(c.name, err)
		}
		python := ""
		for _, q := range finder.asked {
			python += q.Target.Python
		}
		if python != c.python || !slices.Equal(packages, c.packages) {
			t.Errorf("%s: uv was asked for Python %q and gave %q ahead, want %q and %q", c.name, python, packages,
				c.python, c.packages)
		}
		if len(said) > 0 || len(res.locked.Layers) > 0 || res.stack.python.Version != "" {
			t.Errorf("%s: what was asked ahead left a trace: it said %q, locked %v, took Python %q", c.name, said,
				res.locked.Layers, res.stack.python.Version)
		}
	}
}
