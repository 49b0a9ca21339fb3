package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// ImageLayer is a layer of an image in its registry.
type ImageLayer struct {
	DiffID string // digest of the unpacked layer
	Size   int64  // bytes as stored: what comes over the wire
}

// unpackedRatio estimates what a layer takes on the disk where no Engine has counted it: an image
// of Ray 2.60 has 395 MiB compressed, and 1062 MiB unpacked.
const unpackedRatio = 2.7

const reclaimLimit = 10 * time.Second // for an Engine to add up what it has

// room is what an image takes on a host. Compressed layers lie beside the unpacked ones while they are pulled.
type room struct {
	compressed, unpacked int64 // of the layers that the host has not
	kept                 int   // layers that it has
	estimated            bool  // unpacked is no Engine's count
}

func (r room) bytes() int64 { return r.compressed + r.unpacked }

// roomFor says what an image takes on a host that has other images. An Engine keeps a layer once
// for all images that have the same ones below it. counted is the whole image unpacked, as an
// Engine that has it counts; 0: none has it.
func roomFor(layers []ImageLayer, there [][]string, counted int64) room {
	r := room{}
	for _, have := range there {
		n := 0
		for n < min(len(have), len(layers)) && layers[n].DiffID != "" && have[n] == layers[n].DiffID {
			n++
		}
		r.kept = max(r.kept, n)
	}
	var all int64
	for i, l := range layers {
		all += l.Size
		if i >= r.kept {
			r.compressed += l.Size
		}
	}
	r.estimated = counted == 0 || r.kept > 0
	switch {
	case r.compressed == 0:
	case counted > 0:
		r.unpacked = int64(float64(counted) * float64(r.compressed) / float64(all))
	default:
		r.unpacked = int64(unpackedRatio * float64(r.compressed))
	}
	return r
}

func (r room) String() string {
	s := fmt.Sprintf("%d MiB compressed and %d MiB unpacked", mib(r.compressed), mib(r.unpacked))
	if r.estimated {
		s += ", which is an estimate"
	}
	if r.kept > 0 {
		s += fmt.Sprintf(", without the %s that it has", plural(r.kept, "layer", "layers"))
	}
	return s
}

// mib rounds up, so that what does not fit never looks as if it did.
func mib(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

// withLayers adds the sizes of the layers to the facts about the image, if its registry can be asked. The head's
// Engine, from which the other facts may come, does not know what comes over the wire.
func (l *launch) withLayers(ctx context.Context, cs *clusterState, makes map[string]bool) ImageFacts {
	image := cs.image
	if len(image.Layers) > 0 || len(makes) == 0 || l.Images == nil || !strings.Contains(image.Ref, "@") {
		return image
	}
	if f, err := l.Images.Facts(ctx, image.Ref); err == nil { // without, the image's unpacked size is what is known
		image.Layers = f.Layers
	}
	return image
}

// checkRoom checks that a host has room for an image where its Engine keeps images. If df cannot run on the host, it
// writes a warning to the log and does not refuse.
func (l *launch) checkRoom(ctx context.Context, id string, h *docker.Host, engine docker.Info, image ImageFacts,
	counted int64) error {
	root := engine.Root
	if root == "" {
		return nil
	}
	kib, err := freeOf(ctx, h, "-Pk", root)
	if err != nil {
		l.logf("%s: warning: its free disk space is not known: %v", id, err)
		return nil
	}
	inodes, err := freeOf(ctx, h, "-Pi", root)
	if err != nil {
		inodes = minInodes // some file systems count none
	}
	if inodes > 0 && inodes < minInodes {
		return fmt.Errorf("%s has %d inodes free, and an image takes many thousands; make room there (docker "+
			"image prune)", root, inodes)
	}
	free := kib << 10
	need, err := l.roomOn(ctx, h, goArch(engine.Arch), image, counted)
	if err != nil {
		return err
	}
	switch {
	case free < need.unpacked || free < need.bytes() && !need.estimated:
		return fmt.Errorf("%s has %d MiB free, and the image needs %d MiB there (%s); %s", root, free>>20,
			mib(need.bytes()), need, l.wouldFree(ctx, h))
	case free < minFree:
		return fmt.Errorf("%s has %d MiB free, and a node needs %d MiB there for layers and logs; %s", root, free>>20,
			mib(minFree), l.wouldFree(ctx, h))
	case free < need.bytes():
		l.logf("%s: warning: %s has %d MiB free, and the image needs about %d MiB there while it is pulled (%s)",
			id, root, free>>20, mib(need.bytes()), need)
	}
	return nil
}

// roomOn is what an image takes on a host: nothing where it is there already.
func (l *launch) roomOn(ctx context.Context, h *docker.Host, arch string, image ImageFacts,
	counted int64) (room, error) {
	_, err := h.Image(ctx, image.Ref)
	if err == nil || !docker.IsNotFound(err) {
		return room{}, err
	}
	layers := image.Layers[arch]
	if len(layers) == 0 { // nobody here can ask the registry
		return room{unpacked: counted}, nil
	}
	there, err := h.ImageLayers(ctx)
	if err != nil {
		return room{}, err
	}
	return roomFor(layers, there, counted), nil
}

// wouldFree says what there is to be freed on a host, and how.
func (l *launch) wouldFree(ctx context.Context, h *docker.Host) string {
	ctx, cancel := context.WithTimeout(ctx, reclaimLimit)
	defer cancel()
	r, err := h.Reclaimable(ctx)
	if err != nil {
		return "make room there: docker system df shows what could go"
	}
	if r.Sum() == 0 {
		return "docker system df shows nothing to remove there: make room in another way, or move Docker's " +
			"data-root to a larger disk"
	}
	var parts []string
	for _, p := range []struct {
		what  string
		bytes int64
	}{{"images", r.Images}, {"stopped containers", r.Containers}, {"build cache", r.BuildCache}} {
		if p.bytes > 0 {
			parts = append(parts, fmt.Sprintf("%s %d MiB", p.what, p.bytes>>20))
		}
	}
	return fmt.Sprintf("docker system df shows %d MiB to free there (%s): docker system prune --all; or move Docker's "+
		"data-root to a larger disk", r.Sum()>>20, strings.Join(parts, ", "))
}
