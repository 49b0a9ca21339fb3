package sources

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/layers"
)

// Place is the address of one part of a mirror.
type Place struct {
	Mirror string // its name
	Part   string // apt, conda, pip or installer; for the host: its use
	URL    string // without user, password and token; or a certificate file
	From   string // the file or variable that sets the host's URL
	probe  string // URL to measure; "": it cannot be measured
}

// HostPlaces lists the places in this machine's configuration.
func HostPlaces(c hostconf.Config) []Place {
	out := []Place{}
	add := func(part string, v hostconf.Value) {
		if v.Text == "" {
			return
		}
		p := Place{Mirror: layers.HostMirror, Part: part, URL: fetch.Redacted(v.Text), From: v.From}
		if end, known := PartProbe(part); known {
			p.probe = v.Text + end
		}
		out = append(out, p)
	}
	add("pip", c.PipIndex)
	for _, v := range c.PipExtra {
		add("pip, not used", v)
	}
	add("conda", c.CondaAlias)
	for _, name := range slices.Sorted(maps.Keys(c.CondaChannels)) {
		add("conda "+name, c.CondaChannels[name])
	}
	add("debian", c.Debian)
	add("debian-security", c.DebianSecurity)
	add("ubuntu", c.Ubuntu)
	add("ubuntu-security", c.UbuntuSecurity)
	add("ubuntu-ports", c.Ports)
	for _, name := range slices.Sorted(maps.Keys(c.Registries)) {
		for _, v := range c.Registries[name] {
			add("registry "+name, v)
		}
	}
	for _, v := range c.Certs {
		out = append(out, Place{Mirror: layers.HostMirror, Part: "certificates", URL: v.Text, From: v.From})
	}
	return out
}

// PresetPlaces lists the parts of the mirrors that raybuild knows by name.
func PresetPlaces() []Place {
	var out []Place
	for _, m := range layers.Presets() {
		for _, part := range []struct{ name, root, measured string }{
			{"apt", m.Ubuntu, "ubuntu"},
			{"conda", m.CondaCloud, "conda"},
			{"pip", m.PipIndex, "pip"},
			{"installer", m.Miniconda, ""},
		} {
			if part.root == "" {
				continue
			}
			end, known := PartProbe(part.measured)
			if !known {
				end = "/"
			}
			out = append(out, Place{Mirror: m.Name, Part: part.name, URL: part.root, probe: part.root + end})
		}
	}
	return out
}

// Measurable tells whether the place can be measured.
func (p Place) Measurable() bool { return p.probe != "" }

// MeasurePlaces measures the time to the first byte, and the speed of the megabyte after it. All places
// must be measurable. Results have the order of places. timeout is the longest time for one place.
func MeasurePlaces(ctx context.Context, places []Place, host hostconf.Config, timeout time.Duration) []fetch.Speed {
	probes := make([]fetch.Probe, len(places))
	for i, p := range places {
		probes[i] = fetch.Probe{Name: p.Mirror + " " + p.Part, URL: p.probe}
	}
	return fetch.Measure(ctx, probes, fetch.MeasureOptions{Timeout: timeout, Logins: host.Logins, Certs: Certs(host)})
}

// StoredFile is the file of an artifact in a store. It may be missing.
func StoredFile(store string, d digest.Digest) string { return fetch.StoredFile(store, d) }

// Prune removes artifacts from a store until at most keep bytes are left. It starts with the
// artifacts that were not used for the longest time. A missing store is no error.
func Prune(ctx context.Context, store string, keep int64) error {
	_, err := fetch.Prune(ctx, store, keep)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
