package layers

import (
	"testing"
	"time"
)

// TestCase25DebianPastItsEnd: which releases are final on a day, and where files are that have left the mirrors.
func TestCase25DebianPastItsEnd(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		id, release string
		want        bool
	}{{"debian", "10", true}, {"debian", "9", true}, {"debian", "8.11", true}, {"debian", "11", true},
		{"debian", "12", false}, {"debian", "13", false}, {"debian", "", false}, {"debian", "99", false},
		{"ubuntu", "10", false}, {"ubuntu", "10.04", false}} {
		if got := isFinal(LockImage{ID: c.id, Release: c.release}, day); got != c.want {
			t.Errorf("%s %s is final: %v, want %v", c.id, c.release, got, c.want)
		}
	}
	if isFinal(LockImage{ID: "debian", Release: "11"}, time.Date(2026, 8, 31, 23, 0, 0, 0, time.UTC)) {
		t.Error("Debian 11 is final on its last day")
	}
	for below, want := range map[string]string{
		"dists/buster/InRelease":         "http://archive.debian.org/debian/dists/buster/InRelease",
		"dists/buster-backports/Release": "http://archive.debian.org/debian/dists/buster-backports/Release",
		"pool/main/l/less/less_487.deb":  "http://archive.debian.org/debian/pool/main/l/less/less_487.deb",
		"dists/sid/InRelease":            "", "dists/bookworm/InRelease": "",
		"dists/focal/InRelease": "",
	} {
		if got := debianArchive("debian", below); got != want {
			t.Errorf("%s is at %q, want %q", below, got, want)
		}
	}
	if got := debianArchive("debian-security", "dists/buster/updates/InRelease"); got !=
		"http://archive.debian.org/debian-security/dists/buster/updates/InRelease" {
		t.Errorf("the security suite is at %q", got)
	}
	if got := debianArchive("ubuntu", "dists/buster/InRelease"); got != "" {
		t.Errorf("Ubuntu has it at %q", got)
	}
}
