package raybuild

import (
	"context"
	"time"

	"github.com/raybuild/raybuild/internal/sources"
)

// MirrorOptions say what [Mirrors] does. The zero value lists the mirrors, and asks none.
type MirrorOptions struct {
	// Measure asks each place how fast it answers.
	Measure bool
	// Timeout is the longest time for one measurement. Default: 5 seconds.
	Timeout time.Duration
}

// MirrorPart is one part of a mirror. Its JSON is that of "raybuild mirrors --json".
type MirrorPart struct {
	Mirror  string  `json:"mirror"`
	Part    string  `json:"part"`                         // apt, conda, pip or installer; of the host what it is for
	URL     string  `json:"url"`                          // without passwords; or a file of certificates
	From    string  `json:"from,omitempty"`               // the file or variable that has the host's
	Seconds float64 `json:"first_byte_seconds,omitempty"` // 0: not measured
	Speed   float64 `json:"bytes_per_second,omitempty"`   // of the megabyte after the first byte
	Error   string  `json:"error,omitempty"`              // why it could not be measured
	// Measured tells whether it is a place that can be measured, and was.
	Measured bool `json:"-"`
}

// Mirrors lists the mirrors that a recipe can name: first what pip, uv, conda and apt of this machine are configured
// with (host), then those that raybuild knows.
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
