package layers

import (
	"maps"
	"slices"
	"strings"
)

// LayerStatus says what a build does with a layer of an image.
type LayerStatus string

// The statuses of a layer.
const (
	// Reused: the layer is the same, because all operations that make it are the same.
	Reused LayerStatus = "reused"
	// Built: the layer is new, or one of its own inputs has changed.
	Built LayerStatus = "built"
	// MayRebuild: the layer depends on a layer that is built. Its step runs again if the bytes of that
	// layer change.
	MayRebuild LayerStatus = "follows"
	// Recompressed: the layer has the same files in another compression. No step runs.
	Recompressed LayerStatus = "recompressed"
	// Removed: the old image has the layer, the new one does not.
	Removed LayerStatus = "gone"
)

// InputChange is an input whose value has changed.
type InputChange struct {
	// Input is its name. "compression" and "platform" are inputs of the whole image.
	Input string `json:"input"`
	// From and To are its old and its new value; "" if there is none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// LayerComparison is the status of one layer, and the reason for it.
type LayerComparison struct {
	// Platform and Name of the layer.
	Platform string
	Name     string
	// Status, never empty.
	Status LayerStatus
	// Changes are those of its own inputs that have changed.
	Changes []InputChange
	// Because names the layers that it depends on and that are not reused.
	Because []string
	// At is the index of its first layer in the new image, and Count the number of its layers there.
	// Count is 0 if it is removed.
	At, Count int
	// OldAt and OldCount are the same for the old image. OldCount is 0 if it is new.
	OldAt, OldCount int
	// Bytes and OldBytes are the sizes of its artifacts and files that the locks know.
	Bytes, OldBytes int64
}

// CompareRecords compares the record of an image with the record of a graph. It returns every layer
// of the graph in its order, and then the removed layers. old may be nil: then every layer is new.
// The map has the changed inputs of the images' configs, by platform.
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
		if line { // there each layer depends on all before it
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

// compare fills in the layer's status and the reasons for it.
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

// Unresolved marks the layers for which the lock is stale, and the layers that depend on them. It
// removes their keys, so that they are equal to no layer of another image.
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

// Text writes the change for people: the versions if they differ, else the digests, else the places.
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
