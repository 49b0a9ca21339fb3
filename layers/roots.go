package layers

import (
	"net/url"
	"strings"
)

// Roots are the places below which the packages of a recipe are: the official sources, the mirrors, and the recipe's
// own channels, indexes and repositories. What else an image's apt asks is known when its files were read.
func (r *Recipe) Roots(mirrors []Mirror) []*url.URL {
	texts := []string{condaCloud}
	for _, o := range canonicalOrigins {
		texts = append(texts, o.root)
	}
	for alias := range originAliases {
		texts = append(texts, "http://"+alias)
	}
	for _, m := range append([]Mirror{mustPreset("official")}, mirrors...) {
		texts = append(texts, m.roots()...)
	}
	for _, i := range r.Pip.ExtraIndexes {
		texts = append(texts, i.URL)
	}
	for _, channel := range r.Env.Channels {
		texts = append(texts, originURL(channel))
	}
	for _, repo := range r.Apt.Repositories {
		texts = append(texts, repo.URL)
	}
	var out []*url.URL
	for _, text := range texts {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			u.User = nil
			out = append(out, u)
		}
	}
	return out
}

// roots are the places of a mirror.
func (m Mirror) roots() []string {
	out := []string{m.Ubuntu, m.UbuntuSecurity, m.Ports, m.OldReleases, m.Debian, m.DebianSecurity, m.CondaPkgs,
		m.CondaCloud, m.PipIndex, m.PipFiles, m.Miniconda, strings.TrimSuffix(m.Miniforge, releaseTitle)}
	for _, channel := range m.CondaURLs {
		out = append(out, channel)
	}
	return out
}
