package layers

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Candidate is one place where a file can be fetched from.
type Candidate struct {
	// Mirror names the mirror that the place belongs to.
	Mirror string
	// URL of the file. It is empty if only Index has it.
	URL string
	// Index is the PEP 503 page that has the file's URL, if URL is empty.
	Index string
}

// snapshotStart is when the snapshot service of Ubuntu begins (documentation.ubuntu.com,
// how-to/software/snapshot-service: 1 March 2023). A package of xenial, whose last
// standard update is of 2021, is not found there by any date.
const snapshotStart = "20230301T000000Z"

// Candidates lists the places of the file of a canonical URL, best first: each mirror that carries the
// source, and then the source itself. For a package of apt, old-releases and the snapshot service at
// the time resolved follow (no snapshot for the zero time).
//
// Pages that list packages (package lists, repodata, simple indexes) come only from the user's
// mirrors, if one of them carries the source: a public index never overrules the user's own. Files
// have digests, so any place may serve them.
func Candidates(mirrors []Mirror, canonical *url.URL, resolved time.Time) []Candidate {
	origin, below, ok := originOf(canonical.String())
	if !ok {
		return []Candidate{{Mirror: canonical.Host, URL: canonical.String()}}
	}
	var out []Candidate
	for _, m := range mirrors {
		out = append(out, m.candidates(origin, below)...)
	}
	official := mustPreset("official")
	listed := slices.ContainsFunc(mirrors, func(m Mirror) bool { return m.Name == official.Name && !m.Own })
	if !listed && (len(out) == 0 || isFile(origin, below)) {
		out = append(out, official.candidates(origin, below)...)
	}
	if isAptOrigin(origin) {
		out = append(out, aptLastResorts(origin, below, resolved)...)
	}
	return dedupeCandidates(out)
}

func dedupeCandidates(list []Candidate) []Candidate {
	var out []Candidate
	for _, c := range list {
		if !slices.ContainsFunc(out, func(o Candidate) bool { return o.URL == c.URL && o.Index == c.Index }) {
			out = append(out, c)
		}
	}
	return out
}

func isAptOrigin(origin string) bool {
	return strings.HasPrefix(origin, "ubuntu") || strings.HasPrefix(origin, "debian")
}

// isFile tells a file that is known by its digest from a page that says what there is.
func isFile(origin, below string) bool {
	switch {
	case origin == "pypi-index":
		return false
	case isAptOrigin(origin):
		return strings.HasPrefix(below, "pool/")
	case origin == "pypi", origin == "miniconda", origin == "miniforge":
		return true
	}
	return strings.HasSuffix(below, ".conda") || strings.HasSuffix(below, ".tar.bz2")
}

// candidates are the places of one mirror.
func (m Mirror) candidates(origin, below string) []Candidate {
	root := m.root(origin)
	if root == "" && (origin != "pypi" || m.PipIndex == "") {
		return nil
	}
	if origin == "miniforge" {
		return m.miniforge(root, below)
	}
	var out []Candidate
	if root != "" {
		out = append(out, Candidate{Mirror: m.Name, URL: root + "/" + below})
	}
	// PyPI has a file where its pages say, unless the lock was made by an index with paths of its own.
	if origin == "pypi" && m.PipIndex != "" && (m.Name != "official" || !pypiPath().MatchString(below)) {
		if name := projectOfFile(below[strings.LastIndex(below, "/")+1:]); name != "" {
			out = append(out, Candidate{Mirror: m.Name, Index: m.PipIndex + "/" + name + "/"})
		}
	}
	return out
}

// miniforge are the places of an installer, VERSION/FILE below its origin. Mirrors
// that follow GitHub's releases name folders by their titles, "Release 26.7.2-0", so
// their root ends in the beginning of one; beside them, LatestRelease has the newest
// under the same file names. An own directory holds the installers side by side.
func (m Mirror) miniforge(root, below string) []Candidate {
	file := below[strings.LastIndex(below, "/")+1:]
	folders, titled := strings.CutSuffix(root, releaseTitle)
	switch {
	case m.Own || strings.HasSuffix(root, latestRelease):
		return []Candidate{{Mirror: m.Name, URL: root + "/" + file}}
	case titled:
		return []Candidate{{Mirror: m.Name, URL: root + below},
			{Mirror: m.Name, URL: folders + latestRelease + "/" + file}}
	}
	return []Candidate{{Mirror: m.Name, URL: root + "/" + below}}
}

const (
	releaseTitle  = "/Release%20"
	latestRelease = "/LatestRelease"
)

// root is where the mirror has an origin; "" where it has not.
func (m Mirror) root(origin string) string {
	switch origin {
	case "ubuntu":
		return m.Ubuntu
	case "ubuntu-security":
		return m.UbuntuSecurity
	case "ubuntu-ports":
		return m.Ports
	case "ubuntu-old":
		return m.OldReleases
	case "debian":
		return m.Debian
	case "debian-security":
		return m.DebianSecurity
	case "miniconda":
		return m.Miniconda
	case "miniforge":
		return m.Miniforge
	case "pypi":
		return m.PipFiles
	case "pypi-index":
		return m.PipIndex
	}
	if own, ok := m.CondaURLs[origin]; ok {
		return own
	}
	if name, ok := strings.CutPrefix(origin, "pkgs/"); ok {
		return joinRoot(m.CondaPkgs, name)
	}
	if len(m.CondaChannels) > 0 && !slices.Contains(m.CondaChannels, origin) {
		return ""
	}
	return joinRoot(m.CondaCloud, origin)
}

// pypiPath is where PyPI has a file: by its BLAKE2 digest.
var pypiPath = lazy(`^packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/`)

func joinRoot(root, name string) string {
	if root == "" {
		return ""
	}
	return root + "/" + name
}

// aptLastResorts are where a package is looked for that the archive has dropped.
// The snapshot service has all architectures in one tree; its ubuntu-ports
// answers 401 (seen in public reports of 2026-09).
func aptLastResorts(origin, below string, resolved time.Time) []Candidate {
	var out []Candidate
	ubuntu := strings.HasPrefix(origin, "ubuntu")
	if ubuntu && origin != "ubuntu-old" && (isFile(origin, below) || interimSuite(below)) {
		out = append(out, Candidate{Mirror: "official", URL: originURL("ubuntu-old") + "/" + below})
	}
	if at := debianArchive(origin, below); at != "" {
		out = append(out, Candidate{Mirror: "official", URL: at})
	}
	if resolved.IsZero() || !isFile(origin, below) {
		return out
	}
	at := resolved.UTC().Format("20060102T150405Z")
	switch {
	case ubuntu && at >= snapshotStart:
		out = append(out, Candidate{Mirror: "snapshot", URL: "https://snapshot.ubuntu.com/ubuntu/" + at + "/" + below})
	case strings.HasPrefix(origin, "debian"):
		out = append(out, Candidate{Mirror: "snapshot", URL: "https://snapshot.debian.org/archive/" +
			origin + "/" + at + "/" + below})
	}
	return out
}

// interimSuite tells whether a path below dists/ is of a release that leaves the
// archive soon after its end. Which day that is no table can know.
func interimSuite(below string) bool {
	rest, ok := strings.CutPrefix(below, "dists/")
	if !ok {
		return false
	}
	suite, _, _ := strings.Cut(rest, "/")
	codename, _, _ := strings.Cut(suite, "-")
	r, ok := ubuntuRelease(func(r releaseRow) bool { return r.Codename == codename })
	return ok && !r.lts()
}

// projectOfFile is the normalised project name of a wheel or source
// distribution; "" where the name of the file does not tell.
func projectOfFile(name string) string {
	name, _ = strings.CutSuffix(name, ".metadata")
	if unescaped, err := url.PathUnescape(name); err == nil {
		name = unescaped
	}
	if stem, ok := strings.CutSuffix(name, ".whl"); ok {
		if project, _, found := strings.Cut(stem, "-"); found {
			return NormalName(project)
		}
		return ""
	}
	for _, ext := range []string{".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz"} {
		if stem, ok := strings.CutSuffix(name, ext); ok {
			if i := strings.LastIndex(stem, "-"); i > 0 {
				return NormalName(stem[:i])
			}
		}
	}
	return ""
}
