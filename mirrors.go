package raybuild

import (
	"context"
	"time"

	"github.com/raybuild/raybuild/internal/sources"
)

// MirrorOptions say what [Mirrors] does. The zero value lists the mirrors without contacting any.
type MirrorOptions struct {
	// Measure measures how fast each mirror part answers.
	Measure bool
	// Timeout is the longest time for one measurement. Default: 5 seconds.
	Timeout time.Duration
}

// MirrorPart is one part of a mirror. Its JSON is that of "raybuild mirrors --json".
type MirrorPart struct {
	Mirror  string  `json:"mirror"`
	Part    string  `json:"part"`                         // apt, conda, pip or installer; for the host: its use
	URL     string  `json:"url"`                          // without passwords; or a certificate file
	From    string  `json:"from,omitempty"`               // the file or variable that sets the host's URL
	Seconds float64 `json:"first_byte_seconds,omitempty"` // seconds to the first byte; 0: not measured
	Speed   float64 `json:"bytes_per_second,omitempty"`   // speed of the megabyte after the first byte
	Error   string  `json:"error,omitempty"`              // why it could not be measured
	// Measured is true if this part was measured, with or without an error.
	Measured bool `json:"-"`
}

// Mirrors lists the mirrors that a recipe can name: first the mirrors that pip, uv, conda and apt
// of this machine are configured with (host), then the mirrors that raybuild knows.
func Mirrors(ctx context.Context, o Options, m MirrorOptions) []MirrorPart {
	e := newEnv(o)
	host := e.host()
	for _, n := range host.Notes {
		e.note("host: %s", n)
	}
	var (
		all     []MirrorPart
		places  []sources.Place
		indexes []int
	)
	for i, p := range append(sources.HostPlaces(host), sources.PresetPlaces()...) {
		part := MirrorPart{Mirror: p.Mirror, Part: p.Part, URL: p.URL, From: p.From,
			Measured: m.Measure && p.Measurable()}
		if all = append(all, part); part.Measured {
			places, indexes = append(places, p), append(indexes, i)
		}
	}
	if len(places) == 0 {
		return all
	}
	e.info("measuring %d places", len(places))
	timeout := m.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	for i, s := range sources.MeasurePlaces(ctx, places, host, timeout) {
		if at := &all[indexes[i]]; s.Err != nil {
			at.Error = s.Err.Error()
		} else {
			at.Seconds, at.Speed = s.Latency.Seconds(), s.BytesPerSecond
		}
	}
	return all
}
