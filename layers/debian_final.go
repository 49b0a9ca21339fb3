package layers

import (
	"slices"
	"strings"
	"time"
)

// debianEnds are the last days of Debian's releases, with long-term support (https://wiki.debian.org/LTS, read
// 2026-12). Some months later a release leaves the mirrors for archive.debian.org, and is final. Those that had ended
// when the table was written may have left.
func debianEnds() []debianEnd {
	return []debianEnd{{"8", "jessie", "2020-06-30", true}, {"9", "stretch", "2022-06-30", true},
		{"10", "buster", "2024-06-30", true}, {"11", "bullseye", "2026-08-31", true},
		{"12", "bookworm", "2028-06-30", false}, {"13", "trixie", "2030-06-30", false}}
}

type debianEnd struct {
	release, codename, day string
	ended                  bool
}

// isFinal tells whether an image is of a release of Debian past its end. Its lists are not made again, so the day until
// which they say that they are valid has passed.
func isFinal(image LockImage, now time.Time) bool {
	release, _, _ := strings.Cut(image.Release, ".")
	return image.ID == "debian" && slices.ContainsFunc(debianEnds(), func(e debianEnd) bool {
		return e.release == release && now.UTC().Format(time.DateOnly) > e.day
	})
}

// debianArchive is where a file of Debian is that has left the mirrors; "": its release has not, as far as its path
// tells.
func debianArchive(origin, below string) string {
	if origin != "debian" && origin != "debian-security" {
		return ""
	}
	if rest, ok := strings.CutPrefix(below, "dists/"); ok {
		suite, _, _ := strings.Cut(rest, "/")
		codename, _, _ := strings.Cut(suite, "-")
		if !slices.ContainsFunc(debianEnds(), func(e debianEnd) bool { return e.ended && e.codename == codename }) {
			return ""
		}
	} else if !isFile(origin, below) {
		return ""
	}
	return "http://archive.debian.org/" + origin + "/" + below
}
