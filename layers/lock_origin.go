package layers

import (
	"net/url"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// canonicalOrigin is a source that artifacts are named by, whichever mirror
// they come from.
type canonicalOrigin struct {
	name string // as in the lock; "" for a tree of channels, whose first path element is the name
	root string
}

// canonicalOrigins are the sources by name. Of two that could hold a path, the
// longer root comes first.
var canonicalOrigins = []canonicalOrigin{
	{"ubuntu", "http://archive.ubuntu.com/ubuntu"},
	{"ubuntu-security", "http://security.ubuntu.com/ubuntu"},
	{"ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports"},
	{"ubuntu-old", "http://old-releases.ubuntu.com/ubuntu"},
	{"debian", "http://deb.debian.org/debian"},
	{"debian-security", "http://deb.debian.org/debian-security"},
	{"pkgs/main", "https://repo.anaconda.com/pkgs/main"},
	{"pkgs/r", "https://repo.anaconda.com/pkgs/r"},
	{"miniconda", "https://repo.anaconda.com/miniconda"},
	{"miniforge", "https://github.com/conda-forge/miniforge/releases/download"},
	{"pypi", "https://files.pythonhosted.org"},
	{"pypi-index", "https://pypi.org/simple"},
}

const condaCloud = "https://conda.anaconda.org"

// originAliases are other addresses of canonical sources.
var originAliases = map[string]string{
	"security.debian.org/debian-security": "deb.debian.org/debian-security",
	"ftp.debian.org/debian":               "deb.debian.org/debian",
}

// originURL is the root of an origin without a slash at its end: that of a
// canonical source, of a conda channel by its name, or the URL itself.
func originURL(origin string) string {
	for _, o := range canonicalOrigins {
		if o.name == origin {
			return o.root
		}
	}
	if strings.Contains(origin, "://") {
		return strings.TrimRight(origin, "/")
	}
	return condaCloud + "/" + origin
}

// originOf splits a canonical URL into the origin that a lock names and the path
// below its root. The scheme does not matter. For a source that is not canonical
// ok is false, and origin is its scheme and host.
func originOf(canonical string) (origin, below string, ok bool) {
	u, err := url.Parse(canonical)
	if err != nil || u.Host == "" {
		return "", "", false
	}
	address := u.Host + u.EscapedPath()
	for alias, name := range originAliases {
		if rest, cut := strings.CutPrefix(address, alias+"/"); cut {
			address = name + "/" + rest
		}
	}
	for _, o := range canonicalOrigins {
		_, root, _ := strings.Cut(o.root, "://")
		if rest, cut := strings.CutPrefix(address, root+"/"); cut {
			return o.name, rest, true
		}
	}
	if rest, cut := strings.CutPrefix(address, strings.TrimPrefix(condaCloud, "https://")+"/"); cut {
		if channel, file, found := splitChannel(rest); found {
			return channel, file, true
		}
	}
	return u.Scheme + "://" + u.Host, strings.TrimPrefix(u.EscapedPath(), "/"), false
}

// condaSubdirs are the directories of a channel that hold packages for Linux.
var condaSubdirs = []string{"noarch", "linux-64", "linux-aarch64", "linux-ppc64le", "linux-s390x", "linux-riscv64"}

// splitChannel splits a path at the channel's first subdir, because the names
// of channels may have slashes.
func splitChannel(p string) (channel, file string, ok bool) {
	parts := strings.Split(p, "/")
	for i := 1; i < len(parts); i++ {
		for _, s := range condaSubdirs {
			if parts[i] == s {
				return strings.Join(parts[:i], "/"), strings.Join(parts[i:], "/"), true
			}
		}
	}
	if len(parts) > 1 {
		return parts[0], strings.Join(parts[1:], "/"), true
	}
	return "", "", false
}

// URL is the artifact's canonical URL, from which mirrors' URLs follow.
func (a Artifact) URL() string { return originURL(a.Origin) + "/" + a.Path }

// Filename is the name of the file: the last element of its path, unescaped
// where that leaves the name of a file.
func (a Artifact) Filename() string {
	name := path.Base(a.Path)
	plain, err := url.PathUnescape(name)
	if message, _ := strictyaml.OneLine(plain); err != nil ||
		message != "" || plain == "." || plain == ".." || strings.Contains(plain, "/") {
		return name
	}
	return plain
}

// Digest is the digest of the file's bytes.
func (a Artifact) Digest() digest.Digest { return digest.NewDigestFromEncoded(digest.SHA256, a.SHA256) }
