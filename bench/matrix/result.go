package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// figures are one peer's of a row: medians of the samples.
type figures struct {
	Seconds    float64   `json:"seconds"`
	StepsRun   int       `json:"steps_run"`
	Downloaded int64     `json:"bytes_downloaded"`
	Pushed     int64     `json:"bytes_pushed"`
	Pulled     int64     `json:"bytes_pulled"`
	Image      int64     `json:"image_bytes"`
	Min        float64   `json:"seconds_min"`
	Max        float64   `json:"seconds_max"`
	Samples    []float64 `json:"samples"`
	Shared     bool      `json:"shared,omitempty"` // taken in other rows, where the same was done
}

// result is a row of build/bench.json. A peer that was not measured is null.
type result struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	Raybuild   *figures `json:"raybuild"`
	Dockerfile *figures `json:"dockerfile"`
	Docker     *figures `json:"docker"`
	Commit     *figures `json:"commit"`
	// Pip is the Dockerfile with pip, of images of real wheels; there Dockerfile is the one with uv.
	Pip *figures `json:"pip,omitempty"`
	// Failed says of peers that could not do it why.
	Failed  map[string]string `json:"failed,omitempty"`
	samples map[string][]sample
}

// failed takes a peer out of the row.
func (r *result) failed(peer string, err error) {
	if r.Failed == nil {
		r.Failed = map[string]string{}
	}
	text := strings.TrimSpace(err.Error())
	r.Failed[peer] = text[strings.LastIndex(text, "\n")+1:]
	r.set(peer, nil)
}

// forget takes a peer's figures away.
func (r *result) forget(peer string) {
	delete(r.Failed, peer)
	r.set(peer, nil)
}

func (r *result) add(peer string, s sample) {
	if r.samples == nil {
		r.samples = map[string][]sample{}
	}
	r.samples[peer] = append(r.samples[peer], s)
	r.set(peer, figuresOf(r.samples[peer]))
}

func (r *result) set(peer string, f *figures) {
	switch peer {
	case "raybuild":
		r.Raybuild = f
	case "dockerfile":
		r.Dockerfile = f
	case "docker":
		r.Docker = f
	case "commit":
		r.Commit = f
	case "pip":
		r.Pip = f
	}
}

// share gives rows in which the commands were not typed what those came to that were.
func share(rows []*result) {
	var all []sample
	for _, r := range rows {
		if r.Name != "cold" { // which downloads the base as well
			all = append(all, r.samples["commit"]...)
		}
	}
	for _, r := range rows {
		if len(all) > 0 && len(r.samples["commit"]) == 0 && r.Kind != kindLock && r.Failed["commit"] == "" {
			r.Commit = figuresOf(all)
			r.Commit.Shared = true
		}
	}
}

// peers are the figures by name, in the table's order.
func (r *result) peer(name string) *figures {
	return map[string]*figures{"raybuild": r.Raybuild, "dockerfile": r.Dockerfile, "docker": r.Docker,
		"commit": r.Commit, "pip": r.Pip}[name]
}

func figuresOf(samples []sample) *figures {
	f := &figures{}
	for _, s := range samples {
		f.Samples = append(f.Samples, math.Round(s.seconds*1e4)/1e4)
	}
	f.Seconds, f.Min, f.Max = median(f.Samples), slices.Min(f.Samples), slices.Max(f.Samples)
	number := func(of func(s sample) int64) int64 {
		var all []float64
		for _, s := range samples {
			all = append(all, float64(of(s)))
		}
		return int64(median(all))
	}
	f.StepsRun = int(number(func(s sample) int64 { return int64(s.steps) }))
	f.Downloaded = number(func(s sample) int64 { return s.downloaded })
	f.Pushed = number(func(s sample) int64 { return s.pushed })
	f.Pulled = number(func(s sample) int64 { return s.pulled })
	f.Image = number(func(s sample) int64 { return s.size })
	return f
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// Floors keep a ratio of two small things from saying much.
const (
	secondsFloor = 0.05
	bytesFloor   = 16e3
)

// bars are what raybuild is held against. Ratios are by the Dockerfile's figures.
type bars struct {
	first, cold    float64 // seconds
	seconds, bytes float64 // geometric means of the edits
}

// Bars of all images and scales.
const (
	worstBar       = 1.0  // seconds of any row
	sameBar        = 0.15 // seconds of same-warm
	sameSecondsBar = 0.15 // the same in seconds
	smallBar       = 1.0  // small-added in seconds
)

// bars gives those of a scale, and at the scale real of an image.
func (r *report) bars() bars {
	switch {
	case r.Machine.Scale == "small":
		return bars{cold: 0.5, seconds: 0.2, bytes: 0.1}
	case r.Machine.Image == "B":
		return bars{first: 0.4, cold: 0.3, seconds: 0.15, bytes: 0.02}
	}
	return bars{first: 0.5, cold: 0.4, seconds: 0.2, bytes: 0.05}
}

func ratio(a, b, floor float64) float64 { return (a + floor) / (b + floor) }

// verdict is one bar of the matrix, and whether it is reached.
type verdict struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Bar     float64 `json:"bar"`
	Reached bool    `json:"reached"`
	unit    string
}

// verdicts hold the rows against the bars.
func (r *report) verdicts() []verdict {
	var out []verdict
	bars, rows := r.bars(), r.Rows
	bar := func(what string, value, bar float64, unit string) {
		out = append(out, verdict{What: what, Value: value, Bar: bar, Reached: value <= bar, unit: unit})
	}
	worst, where := 0.0, ""
	for _, r := range rows {
		if r.Raybuild == nil || r.Dockerfile == nil {
			continue
		}
		t := ratio(r.Raybuild.Seconds, r.Dockerfile.Seconds, secondsFloor)
		if t > worst {
			worst, where = t, r.Name
		}
		switch {
		case r.Kind == kindFirst:
			bar("first, with nothing locked: seconds by the Dockerfile's", t, bars.first, "×")
		case r.Name == "cold":
			bar("cold: seconds by the Dockerfile's", t, bars.cold, "×")
		case r.Name == "small-added":
			bar("small-added: seconds", r.Raybuild.Seconds, smallBar, "s")
		case r.Name == "same-warm":
			bar("same-warm: seconds", r.Raybuild.Seconds, sameSecondsBar, "s")
			bar("same-warm: seconds by the Dockerfile's", t, sameBar, "×")
		}
	}
	if n, seconds, bytes := means(rows, "dockerfile"); n > 0 {
		bar(fmt.Sprintf("%d edits: seconds by the Dockerfile's, geometric mean", n), seconds, bars.seconds, "×")
		bar(fmt.Sprintf("%d edits: bytes pulled by the Dockerfile's, geometric mean", n), bytes, bars.bytes, "×")
	}
	if where != "" {
		bar("worst row ("+where+"): seconds by the Dockerfile's", worst, worstBar, "×")
	}
	return out
}

// means are the geometric means of raybuild's seconds and bytes pulled by a peer's, over the n edits that both made.
func means(rows []*result, peer string) (n int, seconds, bytes float64) {
	var times, pulls []float64
	for _, r := range rows {
		theirs := r.peer(peer)
		if r.Kind != kindEdit || r.Raybuild == nil || theirs == nil {
			continue
		}
		times = append(times, ratio(r.Raybuild.Seconds, theirs.Seconds, secondsFloor))
		pulls = append(pulls, ratio(float64(r.Raybuild.Pulled), float64(theirs.Pulled), bytesFloor))
	}
	if len(times) == 0 {
		return 0, 0, 0
	}
	return len(times), geometric(times), geometric(pulls)
}

func geometric(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(v)))
}
