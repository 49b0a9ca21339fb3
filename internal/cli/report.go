package cli

import (
	"cmp"
	"strings"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

// metadata is the content of --metadata-file: buildx's keys, and raybuild's own below "raybuild".
type metadata struct {
	Digest   string        `json:"containerimage.digest"`
	Name     string        `json:"image.name,omitempty"`
	Raybuild buildMetadata `json:"raybuild"`
}

type buildMetadata struct {
	*raybuild.Result
	Cache *cacheMetadata `json:"cache,omitempty"` // nil: no cache was imported or exported
}

// newMetadata makes the metadata of a build. name is the image's name if the flags have none.
func newMetadata(o *buildOptions, res *raybuild.Result, name string) metadata {
	return metadata{
		Digest: res.Digest, Name: cmp.Or(strings.Join(o.names, ","), name),
		Raybuild: buildMetadata{Result: res, Cache: o.parsed.cacheMetadata(res.Caches)},
	}
}

// tellBuild prints layers, steps, the test and caches to standard error.
func (a *app) tellBuild(o *buildOptions, res *raybuild.Result, m metadata) {
	rows := [][]string{{"LAYER", "DIGEST", "SIZE", ""}}
	for _, l := range res.Layers {
		state := ""
		if o.push {
			state = "pushed"
			if l.Reused {
				state = "reused"
			}
		}
		rows = append(rows, []string{layerName(l.Name), show.Short(l.Digest.String()), show.Size(l.Size), state})
	}
	ran := 0
	for _, s := range res.Steps {
		if !s.Cached {
			ran++
		}
	}
	if len(res.Layers) > 0 {
		a.say("\n%s\n", table(rows))
	}
	builder := "builder: " + res.Engine
	if res.Engine == "" {
		builder = "no builder needed"
	}
	a.say("%d of %d steps run, %s fetched, %s pushed, %.1f s, %s",
		ran, len(res.Steps), show.Size(res.BytesFetched), show.Size(res.BytesPushed), res.Seconds, builder)
	if res.LayersFrom != "" {
		a.say("layers that did not change are those of %s", res.LayersFrom)
	}
	if res.Tested != "" {
		a.say("%s", res.Tested)
	}
	a.tellCaches(&o.parsed, res.Caches, m.Raybuild.Cache)
}

// layerName returns the name of a layer to print. The base's layers have no names.
func layerName(name string) string {
	if name == "" {
		return "(base)"
	}
	return name
}
