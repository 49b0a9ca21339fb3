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

// PartProbe returns the file, below a mirror part's root, that measures this part. The parts with a file
// are pip, conda, "conda CHANNEL", debian, debian-security, ubuntu, ubuntu-security and ubuntu-ports.
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

// probeOf returns the page that mirrors are compared by. It is the Python index, because nearly all bytes of an
// image come from there. Only this machine's own mirror can lack an index; then it is a page of another part.
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

// Fastest sorts mirrors by speed, fastest first. Mirrors that do not answer come last. The machine's
// own mirror comes first if it answers, even if others are faster: maybe only this mirror has some
// packages, or only this mirror is allowed. host has the machine's logins and certificates.
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
