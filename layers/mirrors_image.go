package layers

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// MirrorFile is a file of the image's mirror configuration.
type MirrorFile struct {
	// Path is absolute in the image.
	Path string
	// Content is the whole file.
	Content string
	// Backup tells that the base has a file of this path, which the image keeps as Path + ".bak".
	Backup bool
}

// ImageMirrorFiles are the files that configure an image with a mirror, sorted
// by path: apt's sources in the form that the base has (deb822 or one-line),
// /etc/pip.conf, /etc/uv/uv.toml and /opt/conda/.condarc, each where the mirror
// carries the source. arch is an architecture as Go names it; channels are what
// conda searches by default (default: conda-forge).
//
// Security updates stay on the official host, because mirrors are behind it; their own help pages
// advise this. An own mirror serves them too, because its user may reach no other host. For apt, the
// URLs of presets are written with http: a base image may have no ca-certificates, and apt checks
// signatures.
func ImageMirrorFiles(m Mirror, base LockImage, arch string, channels ...string) []MirrorFile {
	var files []MirrorFile
	if f, ok := imageAptSources(m, base, arch); ok {
		f.Backup = slices.Contains(base.AptFiles, f.Path)
		files = append(files, f)
	}
	if m.PipIndex != "" {
		files = append(files, MirrorFile{Path: "/etc/pip.conf", Content: pipConf(m)},
			MirrorFile{Path: "/etc/uv/uv.toml", Content: uvConf(m)})
	}
	if m.CondaCloud != "" {
		files = append(files, MirrorFile{Path: condaPrefix + "/.condarc", Content: condarc(m, channels)})
	}
	slices.SortFunc(files, func(a, b MirrorFile) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// aptEntry is one entry of apt's sources.
type aptEntry struct {
	url        string
	suites     []string
	components string
}

// imageAptSources is apt's configuration; false where the mirror has no such archive
// or the base is neither Debian nor Ubuntu.
func imageAptSources(m Mirror, base LockImage, arch string) (MirrorFile, bool) {
	var entries []aptEntry
	name, codename := base.ID, base.Codename
	switch name {
	case "ubuntu":
		row, known := ubuntuRelease(func(r releaseRow) bool {
			return r.Version == base.Release || r.Codename == base.Codename && base.Codename != ""
		})
		if codename == "" {
			codename = row.Codename
		}
		entries = ubuntuEntries(m, codename, arch, known && row.Moved)
	case "debian":
		entries = debianEntries(m, codename, base.Release)
	}
	if len(entries) == 0 || codename == "" {
		return MirrorFile{}, false
	}
	if p := "/etc/apt/sources.list.d/" + name + ".sources"; aptDeb822(base, p) {
		return MirrorFile{Path: p, Content: deb822(entries, "/usr/share/keyrings/"+name+"-archive-keyring.gpg")}, true
	}
	return MirrorFile{Path: "/etc/apt/sources.list", Content: oneLine(entries)}, true
}

// aptDeb822 tells whether the base has its sources in the deb822 form. Where
// the lock does not say, Ubuntu has it from 24.04 and Debian's images from 12 on.
func aptDeb822(base LockImage, file string) bool {
	if len(base.AptFiles) > 0 {
		return slices.Contains(base.AptFiles, file)
	}
	if base.ID == "debian" {
		return compareDotted(base.Release, "12") >= 0
	}
	return compareDotted(base.Release, "24.04") >= 0
}

func ubuntuEntries(m Mirror, codename, arch string, moved bool) []aptEntry {
	const components = "main restricted universe multiverse"
	official := mustPreset("official")
	root, security := m.Ubuntu, official.UbuntuSecurity
	switch {
	case moved:
		// A release that left the archive has all suites in one place.
		root = m.OldReleases
		if m.Own {
			root = m.Ubuntu
		}
		if root == "" {
			root = official.OldReleases
		}
		security = root
	case arch != "amd64" && arch != "386":
		root, security = m.Ports, official.Ports
	}
	if root == "" {
		return nil
	}
	if m.Own {
		security = root
	}
	return []aptEntry{
		{aptScheme(m, root), []string{codename, codename + "-updates", codename + "-backports"}, components},
		{aptScheme(m, security), []string{codename + "-security"}, components},
	}
}

func debianEntries(m Mirror, codename, release string) []aptEntry {
	if m.Debian == "" || codename == "" {
		return nil
	}
	security := mustPreset("official").DebianSecurity
	if m.Own {
		security = m.DebianSecurity
	}
	suite := codename + "-security"
	if release != "" && compareDotted(release, "11") < 0 {
		suite = codename + "/updates" // the name until Debian 10
	}
	return []aptEntry{
		{aptScheme(m, m.Debian), []string{codename, codename + "-updates"}, "main"},
		{aptScheme(m, security), []string{suite}, "main"},
	}
}

// aptScheme is the URL with http for presets, and an own one as it was given.
func aptScheme(m Mirror, root string) string {
	if rest, ok := strings.CutPrefix(root, "https://"); ok && !m.Own {
		return "http://" + rest
	}
	return root
}

func deb822(entries []aptEntry, keyring string) string {
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n"+
			"Signed-By: %s\n", e.url, strings.Join(e.suites, " "), e.components, keyring)
	}
	return b.String()
}

func oneLine(entries []aptEntry) string {
	var b strings.Builder
	for _, e := range entries {
		for _, s := range e.suites {
			fmt.Fprintf(&b, "deb %s %s %s\n", e.url, s, e.components)
		}
	}
	return b.String()
}

func pipConf(m Mirror) string {
	s := "[global]\nindex-url = " + m.PipIndex + "\n"
	if host, plain := plainHost(m.PipIndex); plain {
		s += "trusted-host = " + host + "\n"
	}
	return s
}

// uvConf is uv's own file: uv reads neither pip.conf nor PIP_INDEX_URL.
func uvConf(m Mirror) string {
	s := ""
	if host, plain := plainHost(m.PipIndex); plain {
		s = fmt.Sprintf("allow-insecure-host = [%q]\n\n", host)
	}
	return s + fmt.Sprintf("[[index]]\nurl = %q\ndefault = true\n", m.PipIndex)
}

// plainHost is the host and port of a URL, and whether it is plain http.
func plainHost(raw string) (host string, plain bool) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", false
	}
	return u.Host, u.Scheme == "http"
}

// condarc is conda's configuration. channel_alias makes every channel's name
// that is asked for one of the mirror's; a mirror that has some channels only
// names those, and leaves the others where they are. A mirror without
// Anaconda's own channels has no default_channels.
func condarc(m Mirror, channels []string) string {
	if len(channels) == 0 {
		channels = []string{"conda-forge"}
	}
	var b strings.Builder
	b.WriteString("channels:\n")
	for _, c := range channels {
		fmt.Fprintf(&b, "  - %s\n", c)
	}
	b.WriteString("show_channel_urls: true\n")
	custom := m.CondaChannels
	if len(custom) == 0 {
		fmt.Fprintf(&b, "channel_alias: %s\n", m.CondaCloud)
		custom = []string{"conda-forge"}
	}
	if m.CondaPkgs != "" {
		fmt.Fprintf(&b, "default_channels:\n  - %s/main\n  - %s/r\n", m.CondaPkgs, m.CondaPkgs)
	}
	b.WriteString("custom_channels:\n")
	for _, c := range custom {
		fmt.Fprintf(&b, "  %s: %s\n", c, m.CondaCloud)
	}
	return b.String()
}
