package layers

import (
	"context"

	"github.com/raybuild/raybuild/llb"
)

// configure gives the finished image its mirrors: a few small files, and on the
// base the originals of those that they cover.
type configure struct {
	mirror   *Mirror
	channels []string
}

func (configure) Name() string    { return "mirrors" }
func (configure) Needs() []string { return []string{"apt"} }

func (configure) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }

func (c configure) Apply(on Stack, _ []Artifact) (Stack, error) {
	if c.mirror == nil {
		return on, nil
	}
	var files []llb.File
	var originals []string
	for _, f := range ImageMirrorFiles(*c.mirror, on.Base, on.Platform.Architecture, c.channels...) {
		files = append(files, llb.File{Path: f.Path, Data: []byte(f.Content)})
		if f.Backup {
			originals = append(originals, f.Path)
		}
	}
	if len(originals) > 0 {
		title := "[mirrors] keep originals as .bak"
		on = on.ChainOnBase(title, on.BaseStage.Run(shell(title, preludeText+originalsText, nil, originals...)))
	}
	title := "[mirrors] configure " + c.mirror.Name
	return on.Add("mirrors", "mirrors", title, llb.Scratch().Files(title, files...)), nil
}
