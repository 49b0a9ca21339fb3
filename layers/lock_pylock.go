package layers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
)

// Pylock writes the lock's Python packages as a pylock.toml (PEP 751), for other tools. It has the packages of Ray's
// layers and the added ones, and none of conda's. Own wheels have paths relative to the recipe. The same lock gives the
// same bytes.
func (l *Lock) Pylock() ([]byte, error) {
	out := pylock.Lock{Version: "1.0", CreatedBy: "raybuild"}
	platforms := slices.Sorted(maps.Keys(l.Platforms))
	packages := map[[2]string]*exported{} // by name and version
	for _, name := range platforms {
		marker, err := platformMarker(name)
		if err != nil {
			return nil, err
		}
		locked := l.Platforms[name]
		out.Environments = append(out.Environments, marker)
		if python := pythonOf(locked.layer("env")).Version; python != "" {
			out.RequiresPython = "==" + strings.Join(strings.SplitN(python, ".", 3)[:2], ".") + ".*"
		}
		for _, layer := range locked.pythonLayers() {
			for _, a := range runtimePackages(layer.Artifacts) {
				key := [2]string{a.Name, a.Version}
				if packages[key] == nil {
					packages[key] = &exported{}
				}
				packages[key].add(a, marker)
			}
		}
	}
	if out.RequiresPython == "" {
		return nil, errors.New("write pylock.toml: the lock has no Python: run raybuild lock")
	}
	for _, key := range slices.SortedFunc(maps.Keys(packages), func(a, b [2]string) int {
		return slices.Compare(a[:], b[:])
	}) {
		p := packages[key]
		p.Name, p.Version = key[0], key[1]
		if len(p.markers) < len(platforms) {
			p.Marker = strings.Join(p.markers, " or ")
		}
		out.Packages = append(out.Packages, p.Package)
	}
	return out.Marshal()
}

// exported is a package, and the markers of the platforms that have it.
type exported struct {
	pylock.Package
	markers []string
}

// add adds the file of one platform.
func (p *exported) add(a Artifact, marker string) {
	if !slices.Contains(p.markers, marker) {
		p.markers = append(p.markers, marker)
	}
	if _, ok := a.Commit(); ok {
		p.Other = "git" // whose archive only raybuild makes
		return
	}
	f := pylock.File{Name: a.Filename(), SHA256: a.SHA256, Size: a.Size}
	switch a.Origin {
	case originLocal:
		f.Path = a.Path
	case "pypi":
		f.URL, p.Index = a.URL(), originURL("pypi-index")
	default:
		f.URL = a.URL()
	}
	switch {
	case a.Kind == KindSdist:
		p.Sdist = &f
	case !slices.Contains(p.Wheels, f):
		p.Wheels = append(p.Wheels, f)
	}
}

// platformMarker is the marker of a platform.
func platformMarker(name string) (string, error) {
	machine, err := pylock.Target{Platform: name}.Machine()
	if err != nil {
		return "", fmt.Errorf("write pylock.toml: %w", err)
	}
	return fmt.Sprintf("sys_platform == 'linux' and platform_machine == '%s'", machine), nil
}
