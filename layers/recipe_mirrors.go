package layers

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

func mirrorKeys(m *Mirrors) []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "fetch",
			Doc: "Where packages come from while the image is built, tried in order. It is never part of the image. " +
				"`host` is what pip, uv, " +
				"conda and apt of this machine are configured with. `auto` measures `host` and all mirrors that " +
				"have a name: `" +
				strings.Join(presetNames(), "`, `") + "`.",
			Default: "`official`", Example: "[tuna, official]", Value: fetchValue(m)},
		{Name: "image", Doc: "The mirror that apt, conda, pip and uv of the finished image are configured with.",
			Default: "none: they stay as the base's makers configured them", Example: "tuna",
			Value: imageMirrorValue(m)},
	}
}

func imageMirrorValue(m *Mirrors) strictyaml.Value {
	shape := func() strictyaml.Shape {
		s := mirrorShape(presetNames()...)
		s.Words = "the name of a mirror, or a mapping of URLs"
		return s
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Text && n.Text == HostMirror {
			t.AddAt(n, key, "host is the configuration of the machine that builds, so the image would be "+
				"another one on each machine",
				"name a mirror, or give its URLs as {apt: URL, conda: URL, pip: URL}")
			return
		}
		own, ok := readMirror(t, n, key)
		switch {
		case ok && own.Registry != "":
			t.AddAt(n, key, "has a mirror of a registry, and the image pulls no images",
				"move registry to mirrors.fetch")
		case ok:
			m.Image = &own
		}
	})
}

// fetchValue reads one mirror, a list of mirrors, or auto.
func fetchValue(m *Mirrors) strictyaml.Value {
	shape := func() strictyaml.Shape {
		one := mirrorShape(append(presetNames(), HostMirror)...)
		auto := mirrorShape(append(presetNames(), HostMirror, "auto")...)
		list := strictyaml.Shape{Kind: strictyaml.List, Items: &one, Filled: true}
		return strictyaml.Shape{Either: []strictyaml.Shape{auto, list},
			Words: "a mirror, a list of mirrors, or `auto`; a mirror is a name, `host`, or a mapping of URLs"}
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		switch {
		case n.Kind == strictyaml.Text && n.Text == "auto":
			m.Fetch, m.FetchAuto = append([]Mirror{{Name: HostMirror}}, Presets()...), true
		case n.Kind != strictyaml.List:
			if own, ok := readMirror(t, n, key); ok {
				m.Fetch = []Mirror{own}
			}
		case len(n.Items) == 0:
			t.AddAt(n, key, "is an empty list", "name a mirror, such as official, or remove the key")
		default:
			m.Fetch = nil
			t.Read(n, key, mirrorList(m))
		}
	})
}

// mirrorList reads mirrors to try in order.
func mirrorList(m *Mirrors) strictyaml.Value {
	one := func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Text && n.Text == "auto" {
			t.AddAt(n, key, "auto stands alone", "write fetch: auto, or list the mirrors")
			return
		}
		own, ok := readMirror(t, n, key)
		if !ok {
			return
		}
		if !own.Own && slices.ContainsFunc(m.Fetch, func(o Mirror) bool { return !o.Own && o.Name == own.Name }) {
			t.AddAt(n, key, fmt.Sprintf("%q is listed twice", own.Name), "keep one of the two")
			return
		}
		m.Fetch = append(m.Fetch, own)
	}
	return strictyaml.Items("a list of mirrors", strictyaml.Func(nil, one))
}

// mirrorURLs are the URLs of a mirror of the user's own.
type mirrorURLs struct{ apt, conda, pip, installer, registry string }

func (u *mirrorURLs) keys() []strictyaml.Key {
	return []strictyaml.Key{
		{Name: "apt",
			Doc: "The archive of Ubuntu or Debian. Ubuntu's other architectures are in this URL with `-ports` " +
				"at its end, Debian's security archive with `-security`.", Example: "http://mirror.example/ubuntu",
			Value: strictyaml.String(&u.apt, grammarURL())},
		{Name: "conda", Doc: "What holds `pkgs/main`, `pkgs/r` and `cloud/CHANNEL`.",
			Example: "https://mirror.example/anaconda",
			Value:   strictyaml.String(&u.conda, grammarURL())},
		{Name: "pip", Doc: "The simple index (PEP 503), as pip's `index-url`.",
			Example: "https://mirror.example/pypi/simple",
			Value:   strictyaml.String(&u.pip, grammarIndex())},
		{Name: "installer", Doc: "A directory of Miniconda's and Miniforge's installers.",
			Example: "https://mirror.example/miniconda",
			Value:   strictyaml.String(&u.installer, grammarURL())},
		{Name: "registry", Doc: "A mirror of Docker Hub, for bases of `docker.io`. A path stands before the names of " +
			"images, as in Harbor's proxy projects. Only in `fetch`.",
			Example: "https://harbor.example/hub",
			Value:   strictyaml.String(&u.registry, grammarRegistry())},
	}
}

// mirrorShape is one of the names, or URLs.
func mirrorShape(names ...string) strictyaml.Shape {
	urls := strictyaml.Map(new(mirrorURLs).keys()...).Shape()
	urls.Filled = true
	name := strictyaml.Shape{Kind: strictyaml.Text, Grammar: strictyaml.OneOf("a mirror", names...)}
	return strictyaml.Shape{Either: []strictyaml.Shape{name, urls}}
}

// readMirror reads a preset's name or a mapping of URLs.
func readMirror(t *strictyaml.Reader, n *strictyaml.Node, key string) (m Mirror, ok bool) {
	if n.Kind != strictyaml.Mapping {
		t.Read(n, key, strictyaml.Each(strictyaml.OneOf("a mirror", append(presetNames(), HostMirror)...),
			func(name string) {
				m, ok = Mirror{Name: HostMirror}, true
				if name != HostMirror {
					m = mustPreset(name)
				}
			}))
		return m, ok
	}
	before := t.Count()
	var u mirrorURLs
	t.Read(n, key, strictyaml.Map(u.keys()...))
	if len(n.Pairs) == 0 {
		t.AddAt(n, key, "is a mirror without URLs", "give it one or more of apt, conda, pip, installer and registry")
	}
	if t.Count() > before {
		return Mirror{}, false
	}
	m = ownMirror(u.apt, u.conda, u.pip, u.installer)
	m.Registry = u.registry
	if at, err := url.Parse(u.registry); err == nil && m.Name == "" {
		m.Name = at.Host
	}
	return m, true
}

// ownMirror is a mirror of the user's own, from URLs without a slash at their
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
func ownMirror(apt, conda, pip, installer string) Mirror {
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
