package layers

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

func (t *recipeReader) mirrors(n *yamlNode, key string, m *Mirrors) {
	t.mapping(n, key,
		treeField{"fetch", func(n *yamlNode, key string) { t.fetchMirrors(n, key, m) }},
		treeField{"image", func(n *yamlNode, key string) {
			if n.kind == yamlText && n.text == HostMirror {
				t.addAt(n, key, "host is the configuration of the machine that builds, so the image would be another one on each machine",
					"name a mirror, or give its URLs as {apt: URL, conda: URL, pip: URL}")
				return
			}
			if own, ok := t.mirror(n, key); ok {
				m.Image = &own
			}
		}},
	)
}

// fetchMirrors reads one mirror, a list of mirrors, or auto.
func (t *recipeReader) fetchMirrors(n *yamlNode, key string, m *Mirrors) {
	if n.kind == yamlText && n.text == "auto" {
		m.Fetch, m.FetchAuto = append([]Mirror{{Name: HostMirror}}, Presets()...), true
		return
	}
	if n.kind != yamlList {
		if own, ok := t.mirror(n, key); ok {
			m.Fetch = []Mirror{own}
		}
		return
	}
	if len(n.items) == 0 {
		t.addAt(n, key, "is an empty list", "name a mirror, such as official, or remove the key")
	}
	t.list(n, key, "a list of mirrors", func(n *yamlNode, key string) {
		if n.kind == yamlText && n.text == "auto" {
			t.addAt(n, key, "auto stands alone", "write fetch: auto, or list the mirrors")
			return
		}
		own, ok := t.mirror(n, key)
		if !ok {
			return
		}
		if !own.Own && slices.ContainsFunc(m.Fetch, func(o Mirror) bool { return !o.Own && o.Name == own.Name }) {
			t.addAt(n, key, fmt.Sprintf("%q is listed twice", own.Name), "keep one of the two")
			return
		}
		m.Fetch = append(m.Fetch, own)
	})
}

// mirror reads a preset's name or a mapping of URLs.
func (t *recipeReader) mirror(n *yamlNode, key string) (Mirror, bool) {
	if n.kind != yamlMap {
		name, ok := t.string(n, key, oneOf(append(presetNames(), HostMirror)...))
		switch {
		case !ok:
			return Mirror{}, false
		case name == HostMirror:
			return Mirror{Name: HostMirror}, true
		}
		return mustPreset(name), true
	}
	before := len(t.problems)
	var apt, conda, pip, installer string
	t.mapping(n, key,
		treeField{"apt", t.url(&apt)},
		treeField{"conda", t.url(&conda)},
		treeField{"pip", t.text(&pip, simpleIndex)},
		treeField{"installer", t.url(&installer)},
	)
	if len(n.pairs) == 0 {
		t.addAt(n, key, "is a mirror of nothing", "give it one or more of apt, conda, pip and installer")
	}
	if len(t.problems) > before {
		return Mirror{}, false
	}
	return OwnMirror(apt, conda, strings.TrimRight(pip, "/"), installer), true
}

func simpleIndex(s string) (string, string) {
	if m, f := plainURL(s); m != "" {
		return m, f
	}
	if !strings.HasSuffix(strings.TrimRight(s, "/"), "/simple") {
		return quoteShort(s) + " does not end in /simple", "write the URL of the simple index (PEP 503), as pip's index-url"
	}
	return "", ""
}

// OwnMirror is a mirror of the user's own, from URLs without a slash at their
// end; each may be empty. The rules by which they hold the canonical sources
// are those of the field's mirrors:
//
//   - apt is the archive of Debian or Ubuntu, amd64. Ubuntu's security suites lie
//     in the same tree, its other architectures in apt + "-ports"; Debian's
//     security archive in apt + "-security".
//   - conda holds pkgs/main, pkgs/r and cloud/CHANNEL.
//   - pip is a PEP 503 index that ends in /simple, with files in its sibling
//     "packages", or where its pages say.
//   - installer is a directory of Miniconda's and Miniforge's installers.
func OwnMirror(apt, conda, pip, installer string) Mirror {
	m := Mirror{Own: true, PipIndex: pip, Miniconda: installer, Miniforge: installer}
	if apt != "" {
		m.Ubuntu, m.UbuntuSecurity, m.Ports = apt, apt, apt
		if !strings.HasSuffix(apt, "-ports") {
			m.Ports += "-ports"
		}
		m.Debian, m.DebianSecurity = apt, apt+"-security"
	}
	if conda != "" {
		m.CondaPkgs, m.CondaCloud = conda+"/pkgs", conda+"/cloud"
	}
	if pip != "" {
		m.PipFiles = strings.TrimSuffix(pip, "/simple")
	}
	for _, raw := range []string{apt, conda, pip, installer} {
		if u, err := url.Parse(raw); err == nil && u.Host != "" {
			m.Name = u.Host
			break
		}
	}
	return m
}
