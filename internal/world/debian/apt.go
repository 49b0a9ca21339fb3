package debian

import (
	"path"
	"strings"

	"github.com/raybuild/raybuild/internal/hostconf"
)

// The canonical roots of Debian's archives, which the base images' own sources name.
const (
	CanonicalArchive  = "http://deb.debian.org/debian"
	CanonicalSecurity = "http://deb.debian.org/debian-security"
)

// Suite is the release that the world is made of: its Python, 3.11, is the one that the world's conda
// channel carries, whatever release the machine itself has.
const Suite = "bookworm"

// Mirror is a Debian mirror: roots of its main and its security archive, without a slash at the end.
type Mirror struct{ Archive, Security string }

// MirrorOf is the Debian mirror that a machine's apt is configured with, Debian's own where it has
// none (an Ubuntu machine).
func MirrorOf(c hostconf.Config) Mirror {
	m := Mirror{Archive: c.Debian.Text, Security: c.DebianSecurity.Text}
	if m.Archive == "" {
		return Mirror{CanonicalArchive, CanonicalSecurity}
	}
	if m.Security == "" {
		// Mirrors that carry both have them side by side under these names.
		m.Security = strings.TrimSuffix(m.Archive, path.Base(m.Archive)) + "debian-security"
	}
	return m
}
