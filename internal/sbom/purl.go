package sbom

import (
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"github.com/raybuild/raybuild/internal/pylock"
)

// PURL is the package URL of a package (https://github.com/package-url/purl-spec); "" for what is no package.
func (p Part) PURL() string {
	q := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			q[key] = value
		}
	}
	text := func(kind, space, name string) string {
		return packageurl.NewPackageURL(kind, space, name, p.Version, packageurl.QualifiersFromMap(q), "").ToString()
	}
	switch p.Kind {
	case Deb:
		set("arch", p.Arch)
		set("distro", p.Distro)
		if p.Source != "" || p.SourceVersion != "" {
			source := first(p.Source, p.Name)
			if p.SourceVersion != "" {
				source += "@" + p.SourceVersion
			}
			set("upstream", source)
		}
		space, _, _ := strings.Cut(p.Distro, "-")
		return text(packageurl.TypeDebian, first(space, "debian"), p.Name)
	case Conda:
		set("build", p.Build)
		set("channel", p.Channel)
		set("subdir", p.Subdir)
		return text(packageurl.TypeConda, "", p.Name)
	case Python:
		return text(packageurl.TypePyPi, "", pylock.Normal(p.Name))
	}
	return ""
}

// ImageURL is the package URL of an image in a repository, such as "docker.io/library/ubuntu".
func ImageURL(repository string, d digest.Digest) string {
	name := repository[strings.LastIndex(repository, "/")+1:]
	return packageurl.NewPackageURL(packageurl.TypeOCI, "", strings.ToLower(name), d.String(),
		packageurl.QualifiersFromMap(map[string]string{"repository_url": repository}), "").ToString()
}

// fromPURL fills in what a package URL says.
func (p *Part) fromPURL(text string) bool {
	u, err := packageurl.FromString(text)
	if err != nil {
		return false
	}
	q := u.Qualifiers.Map()
	switch u.Type {
	case packageurl.TypeDebian:
		p.Kind, p.Arch, p.Distro = Deb, plain(q["arch"]), plain(q["distro"])
		source, version, _ := strings.Cut(q["upstream"], "@")
		if source != p.Name {
			p.Source = plain(source)
		}
		p.SourceVersion = plain(version)
	case packageurl.TypeConda:
		p.Kind, p.Build, p.Channel, p.Subdir = Conda, plain(q["build"]), plain(q["channel"]), plain(q["subdir"])
	case packageurl.TypePyPi:
		p.Kind = Python
	default:
		return false
	}
	return true
}
