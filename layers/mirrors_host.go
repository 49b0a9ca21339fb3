package layers

import (
	"reflect"
	"strings"
)

// HostMirror is the name by which a recipe has, among mirrors.fetch, what the
// machine that builds is configured with: the settings of its pip, uv, conda
// and apt. The recipe holds a mirror of that name that carries nothing; see On.
const HostMirror = "host"

// On are the mirrors to fetch from on a machine: those of Fetch, with what the
// machine is configured with in the place of the one that is called host. It is
// left out where it carries nothing.
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

// Carries tells whether the mirror has anything at all.
func (m Mirror) Carries() bool {
	return !reflect.DeepEqual(m, Mirror{Name: m.Name, Source: m.Source, Own: m.Own})
}

// WithPip is the mirror with a PEP 503 index. The files of an index that is
// known by name are where the table has them, those of another one that ends in
// /simple in its sibling "packages", and else where its pages say.
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
