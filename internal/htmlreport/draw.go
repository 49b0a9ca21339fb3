package htmlreport

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

const layerHeight = 34 // pixels of a row, as in the page's style

// arc is a line from a layer to a layer that needs it.
type arc struct {
	Path, Head string
	Class      string
	Title      string
}

// draw computes lines and treemaps.
func (p *platformPage) draw(in layers.PlatformRecord) {
	at := map[string]int{}
	longest := 1
	for i, l := range in.Layers {
		at[l.Name] = i
		for _, on := range l.On {
			if from, ok := at[on]; ok {
				longest = max(longest, i-from)
			}
		}
	}
	const least, most = 14, 54
	p.Gutter, p.Height = most+14, layerHeight*len(in.Layers)
	middle := func(i int) int { return i*layerHeight + layerHeight/2 }
	for i, l := range in.Layers {
		for _, on := range l.On {
			from, ok := at[on]
			if !ok || from == i {
				continue
			}
			out := p.Gutter - least - (most-least)*max(i-from, from-i)/longest
			right, y1, y2 := p.Gutter-8, middle(from)+5, middle(i)-5
			p.Arcs = append(p.Arcs, arc{
				Path:  fmt.Sprintf("M%d %d C%d %d %d %d %d %d", right, y1, out, y1, out, y2, right, y2),
				Head:  fmt.Sprintf("M%d %d l-7 -3.5 v7 z", right+6, y2),
				Class: p.Layers[i].Class, Title: show.Printable(l.Name + " needs " + on),
			})
		}
	}
	p.Wide, p.Narrow = p.treemap(1000, 460), p.treemap(340, 620)
}

// tile is a rectangle of the treemap. X and W are in hundredths of the width, so that it fits every width.
type tile struct {
	X, W  string
	Y, H  int
	Layer bool // the frame of a layer; else a package in it
	Class string
	Label string // "": no room
	Title string
}

type area struct{ x, y, w, h float64 }

func (p platformPage) treemap(width, height float64) []tile {
	rows := slices.Clone(p.Layers)
	slices.SortStableFunc(rows, func(a, b layerRow) int { return cmp.Compare(b.Size, a.Size) })
	rows = slices.DeleteFunc(rows, func(r layerRow) bool { return r.Size <= 0 })
	weights := make([]float64, len(rows))
	for i, r := range rows {
		weights[i] = float64(r.Size)
	}
	var all []tile
	put := func(a area, t tile) {
		const perRune, pad = 7.2, 10
		if room := int((a.w - pad) / perRune); a.h < 17 || room < 3 {
			t.Label = ""
		} else {
			t.Label = show.OneLine(t.Label, room)
		}
		t.X, t.W = fmt.Sprintf("%.3f%%", a.x/width*100), fmt.Sprintf("%.3f%%", max(a.w, 0)/width*100)
		t.Y, t.H = int(a.y), int(a.y+max(a.h, 0))-int(a.y)
		all = append(all, t)
	}
	for i, a := range squarify(weights, area{0, 0, width, height}) {
		r := rows[i]
		put(a, tile{Layer: true, Class: r.Class, Label: r.Name + " " + r.SizeText, Title: r.Name + ", " + r.SizeText})
		const head, rim = 20, 3
		inner := area{a.x + rim, a.y + head, a.w - 2*rim, a.h - head - rim}
		if len(r.packages) == 0 || inner.w < 12 || inner.h < 12 {
			continue
		}
		shown, inside := packageAreas(r.packages, inner)
		for k, b := range inside {
			put(area{b.x + .5, b.y + .5, b.w - 1, b.h - 1}, tile{Class: r.Class, Label: shown[k].Name,
				Title: shown[k].Name + " " + shown[k].Version + ", " + shown[k].SizeText + ", in " + r.Name})
		}
	}
	return all
}

// packageAreas computes the areas of a layer's packages. Packages that are too small to see share one area.
func packageAreas(all []packageRow, in area) ([]packageRow, []area) {
	total := int64(0)
	for _, p := range all {
		total += p.Size
	}
	if total == 0 {
		return nil, nil
	}
	const least = 40 // square pixels
	shown, rest := []packageRow{}, packageRow{}
	for i, p := range all {
		if float64(p.Size)/float64(total)*in.w*in.h < least && len(all)-i > 1 {
			for _, q := range all[i:] {
				rest.Size += q.Size
			}
			rest.Name, rest.SizeText = fmt.Sprintf("%d more", len(all)-i), show.Size(rest.Size)
			shown = append(shown, rest)
			break
		}
		shown = append(shown, p)
	}
	slices.SortStableFunc(shown, func(a, b packageRow) int { return cmp.Compare(b.Size, a.Size) })
	shown = slices.DeleteFunc(shown, func(p packageRow) bool { return p.Size <= 0 })
	weights := make([]float64, len(shown))
	for i, p := range shown {
		weights[i] = float64(p.Size)
	}
	return shown, squarify(weights, in)
}

// squarify divides an area by weights, largest first, into parts that are as square as possible
// (Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000).
func squarify(weights []float64, in area) []area {
	left := 0.0
	for _, w := range weights {
		left += w
	}
	out := make([]area, 0, len(weights))
	for len(weights) > 0 {
		scale := in.w * in.h / left
		side := min(in.w, in.h)
		n, sum := 1, weights[0]
		for n < len(weights) && worst(weights[:n+1], (sum+weights[n])*scale, side, scale) <= worst(weights[:n],
			sum*scale, side, scale) {
			sum += weights[n]
			n++
		}
		part := sum / left
		at := 0.0
		for _, w := range weights[:n] {
			a := in
			if in.w >= in.h {
				a.y, a.w, a.h = in.y+in.h*at, in.w*part, in.h*w/sum
			} else {
				a.x, a.h, a.w = in.x+in.w*at, in.h*part, in.w*w/sum
			}
			at += w / sum
			out = append(out, a)
		}
		if in.w >= in.h {
			in.x, in.w = in.x+in.w*part, in.w*(1-part)
		} else {
			in.y, in.h = in.y+in.h*part, in.h*(1-part)
		}
		weights, left = weights[n:], left-sum
	}
	return out
}

// worst returns the ratio of the sides of the most oblong part of a row.
func worst(row []float64, sum, side, scale float64) float64 {
	big, small := row[0]*scale, row[len(row)-1]*scale
	return max(side*side*big/(sum*sum), sum*sum/(side*side*small))
}

// timeline shows when the steps ran.
type timeline struct {
	Ticks []tick
	Bars  []bar
	Kept  int // cached steps
}

type tick struct{ X, Text, Anchor string }

type bar struct {
	Name, Layer, Class  string
	X, W                string // in hundredths of the width
	From, Seconds, Ends string
}

// timeline puts what was resolved, the steps that ran, and the push on one scale that begins with the call. If the
// builder's clock differs from the local clock, the first step is moved to the start.
func (b *Build) timeline() *timeline {
	steps := slices.DeleteFunc(slices.Clone(b.Result.Ran),
		func(s llb.Step) bool { return s.Cached || s.Started.IsZero() })
	slices.SortStableFunc(steps, func(a, b llb.Step) int { return a.Started.Compare(b.Started) })
	t := &timeline{Kept: len(b.Result.Ran) - len(steps)}
	now := b.Start.Add(time.Duration(b.Result.Seconds * float64(time.Second)))
	skew := time.Duration(0)
	var last time.Time
	for _, s := range steps {
		last = later(last, later(s.Completed, s.Started))
	}
	if len(steps) > 0 && (steps[0].Started.Before(b.Start) || last.After(now)) {
		skew = b.Start.Sub(steps[0].Started)
		last = last.Add(skew)
	}
	end := later(now, last)
	total := max(end.Sub(b.Start).Seconds(), 0.001)
	add := func(one bar, from, to time.Time) {
		x, w := from.Sub(b.Start).Seconds(), max(to.Sub(from).Seconds(), 0)
		one.X, one.W = fmt.Sprintf("%.3f%%", x/total*100), fmt.Sprintf("%.3f%%", max(w/total*100, .15))
		one.From, one.Seconds, one.Ends = secondsText(x), secondsText(w), secondsText(x+w)
		t.Bars = append(t.Bars, one)
	}
	for _, s := range b.Result.Resolved {
		add(bar{Name: show.Printable(s.Name), Layer: show.Printable(s.Layer), Class: "built"}, s.Started, s.Completed)
	}
	for _, s := range steps {
		one, to := bar{Name: show.Printable(s.Name), Layer: show.Printable(s.Layer), Class: "built"}, s.Completed
		if s.Failed || to.IsZero() {
			one.Class = "failed"
		}
		if to.IsZero() {
			to = end.Add(-skew)
		}
		add(one, s.Started.Add(skew), to.Add(skew))
	}
	if push := b.Result.PushBegan; !push.IsZero() {
		to := b.Result.PushEnded
		if to.IsZero() {
			to = now
		}
		add(bar{Name: "push", Layer: "image", Class: "pushed"}, push, to)
	}
	for i := range 5 {
		anchor := "middle"
		switch i {
		case 0:
			anchor = "start"
		case 4:
			anchor = "end"
		}
		t.Ticks = append(t.Ticks, tick{fmt.Sprintf("%d%%", i*25), secondsText(total * float64(i) / 4), anchor})
	}
	return t
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func secondsText(s float64) string {
	switch {
	case s >= 120:
		return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
	case s >= 10:
		return fmt.Sprintf("%.0f s", s)
	}
	return fmt.Sprintf("%.2f s", s)
}

func numberOf(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }
