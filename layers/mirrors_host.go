package layers

import (
	"reflect"
	"strings"
)

// HostMirror is the name in mirrors.fetch that stands for the mirrors of the machine that builds: the
// settings of its pip, uv, conda and apt. The recipe has an empty mirror of that name; On fills it in.
const HostMirror = "host"

// On gives the mirrors to fetch from on a machine: those of Fetch, with host in the place of the
// mirror that is called "host". If host carries no source, it is left out.
func (m Mirrors) On(host Mirror) []Mirror {
	var out []Mirror
	for _, f := range m.Fetch {
		switch {
		case f.Name != HostMirror || f.Own:
			out = append(out, f)
		case host.Carries():
			host.Name = HostMirror
			out = append(out, host)
		}
	}
	return out
}

// UsesHost tells whether the host's own mirror is among Fetch.
func (m Mirrors) UsesHost() bool {
	for _, f := range m.Fetch {
		if f.Name == HostMirror && !f.Own {
			return true
		}
	}
	return false
}

// Carries tells whether the mirror carries any source.
func (m Mirror) Carries() bool {
	return !reflect.DeepEqual(m, Mirror{Name: m.Name, Source: m.Source, Own: m.Own})
}

// WithPip returns the mirror with another PEP 503 index. If a preset has the index, its files are
// where the preset says. If not, and the index ends in /simple, they are in the directory "packages"
// beside it. Else its pages say where they are.
func (m Mirror) WithPip(index string) Mirror {
	m.PipIndex, m.PipFiles = index, ""
	_, place, _ := strings.Cut(index, "://")
	for _, p := range readPresets() {
		if _, known, _ := strings.Cut(p.PipIndex, "://"); known == place && place != "" {
			m.PipFiles = p.PipFiles
			return m
		}
	}
	if root, ok := strings.CutSuffix(index, "/simple"); ok {
		m.PipFiles = root
	}
	return m
}
