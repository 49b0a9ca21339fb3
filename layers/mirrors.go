package layers

import (
	"bytes"
	_ "embed"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Mirror is a set of places that carry copies of the canonical sources. All are
// URLs without a slash at their end. An empty field means that the mirror does
// not carry that source.
type Mirror struct {
	// Name is the preset's name, or the host of the first URL of an own mirror.
	Name string `yaml:"name"`
	// Source says where a preset's URLs were found.
	Source string `yaml:"source"`
	// Own tells that the recipe gave the URLs.
	Own bool `yaml:"-"`
	// Ubuntu is the root of the archive for amd64 and i386, UbuntuSecurity the root of its security
	// suites. Ports has all suites of the other architectures, OldReleases the releases past their end
	// of life.
	Ubuntu         string `yaml:"ubuntu"`
	UbuntuSecurity string `yaml:"ubuntu_security"`
	Ports          string `yaml:"ports"`
	OldReleases    string `yaml:"old_releases"`
	// Debian and DebianSecurity are the roots of Debian's archives.
	Debian         string `yaml:"debian"`
	DebianSecurity string `yaml:"debian_security"`
	// CondaPkgs is the directory with the channels main and r; CondaCloud is the directory with
	// conda-forge and other channels.
	CondaPkgs  string `yaml:"conda_pkgs"`
	CondaCloud string `yaml:"conda_cloud"`
	// CondaChannels are the only channels of CondaCloud. Default: all there are.
	CondaChannels []string `yaml:"conda_channels"`
	// CondaURLs are the places of single channels, by origin (conda-forge,
	// pkgs/main). They come before the directories. Default: none.
	CondaURLs map[string]string `yaml:"-"`
	// PipIndex is the PEP 503 root. PipFiles is the root of the files, as
	// https://files.pythonhosted.org is for PyPI.
	PipIndex string `yaml:"pip_index"`
	PipFiles string `yaml:"pip_files"`
	// Miniconda is the directory of its installers. Miniforge is the directory of its installers, too,
	// if the mirror is Own or if it ends in /LatestRelease. Else it has a directory for each version; if
	// it ends in /Release%20, the name of that directory begins with "Release ".
	Miniconda string `yaml:"miniconda"`
	Miniforge string `yaml:"miniforge"`
	// Registry is the URL of a mirror of Docker Hub. Its path stands before the names of repositories.
	Registry string `yaml:"-"`
}

//go:embed data/mirrors.yaml
var mirrorData []byte

// readPresets reads the table once.
//
//nolint:gochecknoglobals // a table of facts that nothing writes to
var readPresets = sync.OnceValue(func() []Mirror {
	var presets []Mirror
	readTable(mirrorData, &presets)
	for i := range presets {
		if p := &presets[i]; p.UbuntuSecurity == "" {
			// A mirror of the archive has the security suites in the same tree.
			p.UbuntuSecurity = p.Ubuntu
		}
	}
	return presets
})

// readTable reads a table of this package's own.
func readTable(data []byte, into any) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		panic("layers: own table: " + err.Error()) //nolint:forbidigo // part of the program, and read by a test
	}
}

// Presets are the mirrors known by name: official first, the others in the
// order in which they are documented.
func Presets() []Mirror { return slices.Clone(readPresets()) }

// Preset is the mirror of that name.
func Preset(name string) (Mirror, bool) {
	for _, m := range readPresets() {
		if m.Name == name {
			return m, true
		}
	}
	return Mirror{}, false
}

// mustPreset is a preset whose name was checked.
func mustPreset(name string) Mirror {
	m, ok := Preset(name)
	if !ok {
		panic("layers: no preset " + name) //nolint:forbidigo // the names are the table's own
	}
	return m
}

func presetNames() []string {
	var names []string
	for _, m := range readPresets() {
		names = append(names, m.Name)
	}
	return names
}
