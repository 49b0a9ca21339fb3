package docker

import (
	"context"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// Reclaimable counts bytes that nothing uses, as `docker system df` does.
type Reclaimable struct{ Images, Containers, BuildCache int64 }

// Sum adds the three.
func (r Reclaimable) Sum() int64 { return r.Images + r.Containers + r.BuildCache }

// Reclaimable asks how much space the Engine could free. It leaves out volumes: they are somebody's data.
func (h *Host) Reclaimable(ctx context.Context) (Reclaimable, error) {
	du, err := h.api.DiskUsage(ctx, client.DiskUsageOptions{Images: true, Containers: true, BuildCache: true})
	if err != nil {
		return Reclaimable{}, h.fail("ask for the disk usage of", "", err)
	}
	return Reclaimable{du.Images.Reclaimable, du.Containers.Reclaimable, du.BuildCache.Reclaimable}, nil
}

// mostImages bounds the images whose layers are looked at: the Engine lists the newest first.
const mostImages = 64

// ImageLayers lists the layers of each image of the Engine: diff IDs, the lowest first.
func (h *Host) ImageLayers(ctx context.Context) ([][]string, error) {
	list, err := h.api.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, h.fail("list images of", "", err)
	}
	out := make([][]string, min(len(list.Items), mostImages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range out {
		g.Go(func() error {
			img, err := h.Image(ctx, list.Items[i].ID)
			if IsNotFound(err) { // removed in between
				return nil
			}
			out[i] = img.Layers
			return err
		})
	}
	return out, g.Wait()
}
