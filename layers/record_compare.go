package layers

import (
	"maps"
	"slices"
	"strings"
)

// LayerStatus is what becomes of a layer of an image.
type LayerStatus string

// What becomes of layers.
const (
	// Reused: made of the same, so it is the same layer.
	Reused LayerStatus = "reused"
	// Built: an input of its own is another one.
	Built LayerStatus = "built"
	// MayRebuild: it stands on a layer that is built. Its step runs again where
	// that came out with other bytes, and it is a new layer where it itself does.
	MayRebuild LayerStatus = "follows"
	// Recompressed: the same files in another compression; no step runs.
	Recompressed LayerStatus = "recompressed"
	// Removed: the image of before has it, this one has not.
	Removed LayerStatus = "gone"
)

// InputChange is an input that is another one.
type InputChange struct {
	// Input is its name; "compression" and "platform" are the whole image's.
	Input string `json:"input"`
	// From and To are its values; "" where there was or is none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// LayerComparison is what becomes of one layer, and why.
type LayerComparison struct {
	// Platform and Name of the layer.
	Platform string
	Name     string
	// Status, never empty.
	Status LayerStatus
	// Changes are the inputs of its own that are other ones.
	Changes []InputChange
	// Because are the layers that it stands on and that are not reused.
	Because []string
	// At and Count are where its layers are in the new image; Count is 0 where it has gone.
	At, Count int
	// OldAt and OldCount are the same in the old image; OldCount is 0 where it is new.
	OldAt, OldCount int
	// Bytes and OldBytes are the sizes of its artifacts and files, as far as locks know them.
	Bytes, OldBytes int64
}

// CompareRecords compares what an image was made of with what a graph is made of: every
// layer of the graph in its order, then those that have gone. old may be nil:
// everything is new then. The second list has the changed inputs of the images'
// configs, by platform.
func CompareRecords(old, now *BuildRecord) ([]LayerComparison, map[string][]InputChange) {
	var out []LayerComparison
	configs := map[string][]InputChange{}
	for _, p := range now.Platforms {
		was, known := platformRecord(old, p.Platform)
		var whole []InputChange
		if old != nil && !known {
			whole = []InputChange{{Input: "platform", To: p.Platform}}
		}
		compared := comparePlatforms(was, p, old != nil && old.Linear)
		if known && old.Compression != now.Compression {
			change := InputChange{Input: "compression", From: old.Compression, To: now.Compression}
			recompress(compared, change)
			whole = append(whole, change)
		}
		out = append(out, compared...)
		if was.Config.Key != p.Config.Key {
			whole = append(whole, valueChanges(was.Config.Values, p.Config.Values)...)
		}
		configs[p.Platform] = whole
	}
	return out, configs
}

func platformRecord(in *BuildRecord, name string) (PlatformRecord, bool) {
	if in == nil {
		return PlatformRecord{}, false
	}
	i := slices.IndexFunc(in.Platforms, func(p PlatformRecord) bool { return p.Platform == name })
	if i < 0 {
		return PlatformRecord{}, false
	}
	return in.Platforms[i], true
}

func comparePlatforms(was, now PlatformRecord, line bool) []LayerComparison {
	old := map[string]LayerComparison{}
	values := map[string]LayerRecord{}
	at := 0
	for _, l := range was.Layers {
		old[l.Name] = LayerComparison{OldAt: at, OldCount: l.Count, OldBytes: l.Bytes}
		values[l.Name] = l
		at += l.Count
	}
	var out []LayerComparison
	changed := map[string]bool{}
	at = 0
	for _, l := range now.Layers {
		f := old[l.Name]
		f.Platform, f.Name, f.At, f.Count, f.Bytes = now.Platform, l.Name, at, l.Count, l.Bytes
		at += l.Count
		before, known := values[l.Name]
		on := l.On
		if line { // there each layer stands on all before it
			on = slices.Sorted(maps.Keys(changed))
		}
		f.compare(before, l, known, on, changed)
		if line && f.Status == Reused && len(on) > 0 {
			f.Status, f.Because = MayRebuild, on
		}
		if f.Status != Reused {
			changed[l.Name] = true
		}
		out = append(out, f)
	}
	return append(out, gone(was, now, old)...)
}

// compare fills in what becomes of the layer.
func (f *LayerComparison) compare(before, l LayerRecord, known bool, on []string, changed map[string]bool) {
	for _, name := range on {
		if changed[name] {
			f.Because = append(f.Because, name)
		}
	}
	switch {
	case known && before.Key == l.Key && before.Count == l.Count:
		f.Status, f.Because = Reused, nil
		return
	case !known:
		f.Status = Built
	}
	f.Changes = valueChanges(before.Values, l.Values)
	if known && !slices.Equal(before.On, l.On) {
		f.Changes = append(f.Changes, InputChange{Input: "layers that it stands on",
			From: strings.Join(before.On, ", "), To: strings.Join(l.On, ", ")})
	}
	switch {
	case len(f.Changes) > 0:
		f.Status = Built
	case len(f.Because) > 0:
		f.Status = MayRebuild
	case known:
		f.Status = Built
		f.Changes = []InputChange{{Input: "operations", From: before.Key.String(), To: l.Key.String()}}
	}
}

func gone(was, now PlatformRecord, old map[string]LayerComparison) []LayerComparison {
	var out []LayerComparison
	for _, l := range was.Layers {
		if !slices.ContainsFunc(now.Layers, func(n LayerRecord) bool { return n.Name == l.Name }) {
			f := old[l.Name]
			f.Platform, f.Name, f.Status, f.Changes = was.Platform, l.Name, Removed, valueChanges(l.Values, nil)
			out = append(out, f)
		}
	}
	return out
}

func recompress(compared []LayerComparison, change InputChange) {
	for i := range compared {
		if compared[i].Status == Reused {
			compared[i].Status, compared[i].Changes = Recompressed, []InputChange{change}
		}
	}
}

// Unresolved marks what a lock does not answer yet: the image's layers that the
// stale parts come to, and those that stand on them, are not known to be any
// that were built before.
func (i *BuildRecord) Unresolved(stale []StaleLayer) {
	for n := range i.Platforms {
		p := &i.Platforms[n]
		open := map[string]bool{}
		for k := range p.Layers {
			l := &p.Layers[k]
			for _, s := range stale {
				if s.Platform == p.Platform && s.Layer == l.Layer {
					l.Values["lock"] = "to be resolved: " + s.Why
					open[l.Name] = true
				}
			}
			if open[l.Name] || slices.ContainsFunc(l.On, func(on string) bool { return open[on] }) {
				open[l.Name] = true
				l.Key = ""
			}
		}
	}
}

// valueChanges are the inputs that differ, by name.
func valueChanges(was, is map[string]string) []InputChange {
	var out []InputChange
	for _, name := range slices.Sorted(maps.Keys(mergeKeys(was, is))) {
		from, had := was[name]
		to, has := is[name]
		if had != has || from != to {
			out = append(out, InputChange{Input: name, From: from, To: to})
		}
	}
	return out
}

// Text is the change for people: versions where they differ, else digests, else places.
func (c InputChange) Text() string {
	from, to := artifactWords(c.From), artifactWords(c.To)
	if from != nil && to != nil {
		for i := range from {
			if from[i] != to[i] {
				return c.Input + ": " + from[i] + " → " + to[i]
			}
		}
	}
	first := func(value string, words []string) string {
		if words != nil {
			return words[0]
		}
		return value
	}
	switch was, is := first(c.From, from), first(c.To, to); {
	case c.From == "" && c.To == "":
		return c.Input
	case c.From == "":
		return c.Input + ": new, " + is
	case c.To == "":
		return c.Input + ": gone, was " + was
	default:
		return c.Input + ": " + was + " → " + is
	}
}

// artifactWords are version, digest and place where the value is an artifact's, else nil.
func artifactWords(value string) []string {
	words := strings.Fields(value)
	if len(words) != 3 || !strings.HasPrefix(words[1], "sha256:") {
		return nil
	}
	return words
}
