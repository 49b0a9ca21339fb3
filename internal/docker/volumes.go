package docker

import (
	"context"

	"github.com/moby/moby/client"
)

// Volume describes a volume of an Engine.
type Volume struct {
	Name   string
	Labels map[string]string
}

// CreateVolume makes a volume and returns it. If a volume of that name is there, CreateVolume changes nothing and
// returns that one, with the labels that it has.
func (h *Host) CreateVolume(ctx context.Context, name string, labels map[string]string) (Volume, error) {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	res, err := h.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: labels})
	return Volume{Name: name, Labels: res.Volume.Labels}, h.fail("create volume", name, why(err))
}

// Volumes lists the volumes that have a label. label is key or key=value.
func (h *Host) Volumes(ctx context.Context, label string) ([]Volume, error) {
	res, err := h.api.VolumeList(ctx, client.VolumeListOptions{Filters: client.Filters{}.Add("label", label)})
	out := make([]Volume, len(res.Items))
	for i, v := range res.Items {
		out[i] = Volume{Name: v.Name, Labels: v.Labels}
	}
	return out, h.fail("list volumes of", "", err)
}

// RemoveVolume removes a volume. It is no error if the volume is not there.
func (h *Host) RemoveVolume(ctx context.Context, name string) error {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	_, err := h.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	if IsNotFound(err) {
		return nil
	}
	return h.fail("remove volume", name, why(err))
}

// HasVolume tells whether there is a volume of that name.
func (h *Host) HasVolume(ctx context.Context, name string) (bool, error) {
	_, err := h.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
	if IsNotFound(err) {
		return false, nil
	}
	return err == nil, h.fail("look for volume", name, err)
}
