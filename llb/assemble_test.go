package llb_test

import (
	"context"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// An image that is put together from layers which a builder made is the one that the builder makes of them.
func TestAssembledImageIsTheBuilders(t *testing.T) {
	w, b := newWorld(t), connect(t)
	for _, compression := range []string{"gzip", "zstd", "estargz"} {
		t.Run(compression, func(t *testing.T) {
			image := filesImage(amd64, "assembled")
			image.Base, image.BaseLayers = llb.From(w.base), []string{"1", "2"}
			image.Layers = append(image.Layers, llb.Layer{Name: "more", Title: "[more] a <title> & more",
				Stage: llb.Scratch().Files("[more] write", llb.File{Path: "/more", Data: []byte("more")})})
			image.Config.Labels = map[string]string{"b": "<&>", "a": "1"}
			annotations := map[string]string{"z": "1", "a.b": "<x>"}
			var made *llb.Assembled
			o := llb.BuildOptions{Names: []string{"localhost:1/assembled:1"}, Push: true, Compression: compression,
				Annotations: annotations}
			res, err := started(t, b, []llb.Image{image}, o, func(ctx context.Context, build *llb.Build) error {
				stored, err := build.Layers()
				if err == nil {
					made, err = image.Assemble(ctx, stored, annotations)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if made.Result.Digest != res.Digest || made.Result.Images[0].Config != res.Images[0].Config {
				t.Errorf("assembled %s with config %s, the builder made %s with %s\n%s\n%s", made.Result.Digest,
					made.Result.Images[0].Config, res.Digest,
					res.Images[0].Config, made.Docs[made.Result.Digest], made.Docs[made.Result.Images[0].Config])
			}
			for i, l := range made.Result.Images[0].Layers {
				if l != res.Images[0].Layers[i] {
					t.Errorf("layer %d is %+v, the builder's is %+v", i, l, res.Images[0].Layers[i])
				}
			}
			if _, err := image.Assemble(t.Context(), nil, nil); err == nil {
				t.Error("an image without its layers is assembled")
			}
		})
	}
}
