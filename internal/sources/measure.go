package sources

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

// PartProbe is the file by which a part of a mirror is measured, below its root. Parts are pip, conda, "conda CHANNEL",
// debian, debian-security, ubuntu, ubuntu-security and ubuntu-ports; no other has one.
func PartProbe(part string) (string, bool) {
	if strings.HasPrefix(part, "conda ") {
		return channelProbe, true
	}
	probe, ok := partProbes[part]
	return probe, ok
}

//nolint:gochecknoglobals // a table that nothing writes to
var partProbes = map[string]string{
	"pip": "/pip/", "conda": "/conda-forge" + channelProbe,
	"debian":          "/dists/stable/main/binary-amd64/Packages.xz",
	"debian-security": "/dists/stable-security/main/binary-amd64/Packages.xz",
	"ubuntu":          "/dists/jammy/main/binary-amd64/Packages.gz",
	"ubuntu-security": "/dists/jammy-security/main/binary-amd64/Packages.gz",
	"ubuntu-ports":    "/dists/jammy/main/binary-arm64/Packages.gz",
}

const channelProbe = "/noarch/repodata.json.zst"

// probeOf is the page by which mirrors are compared: nearly all of an image's bytes come from the
// Python index. Of what has none, which only this machine's own can be, it is one of what it has.
func probeOf(m layers.Mirror) string {
	if m.PipIndex != "" {
		return m.PipIndex + partProbes["pip"]
	}
	probes := map[string]string{
		"conda": m.CondaCloud, "debian": m.Debian, "debian-security": m.DebianSecurity,
		"ubuntu": m.Ubuntu, "ubuntu-security": m.UbuntuSecurity, "ubuntu-ports": m.Ports,
	}
	for _, part := range slices.Sorted(maps.Keys(probes)) {
		if probes[part] != "" {
			return probes[part] + partProbes[part]
		}
	}
	if names := slices.Sorted(maps.Keys(m.CondaURLs)); len(names) > 0 {
		return m.CondaURLs[names[0]] + channelProbe
	}
	return ""
}

// Fastest orders mirrors by how fast they answer from here; those that do not answer come last. The
// machine's own comes first if it answers, however fast others are: what its owner chose may be all
// that has some packages, or all that is allowed. host has the logins and certificates of the
// machine.
func Fastest(ctx context.Context, mirrors []layers.Mirror, host hostconf.Config) []layers.Mirror {
	probes := make([]fetch.Probe, len(mirrors))
	for i, m := range mirrors {
		probes[i] = fetch.Probe{Name: m.Name, URL: probeOf(m)}
	}
	type measured struct {
		layers.Mirror
		fetch.Speed
	}
	all := make([]measured, len(mirrors))
	for i, speed := range fetch.Measure(ctx, probes, fetch.MeasureOptions{
		Timeout: 3 * time.Second, Parallel: len(probes), Logins: host.Logins, Certs: Certs(host),
	}) {
		all[i] = measured{mirrors[i], speed}
	}
	rank := func(m measured) int {
		switch {
		case m.Err != nil:
			return 2
		case m.Mirror.Name == layers.HostMirror && !m.Own:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(x, y measured) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(y.BytesPerSecond, x.BytesPerSecond))
	})
	sorted := make([]layers.Mirror, len(all))
	for i, m := range all {
		sorted[i] = m.Mirror
	}
	return sorted
}
