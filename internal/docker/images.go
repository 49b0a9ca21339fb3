package docker

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

// Image is an image that an Engine has.
type Image struct {
	ID      string   // sha256:… of its config
	Digests []string // name@sha256:… that it was pulled or pushed as
	Labels  map[string]string
	Env     []string
	User    string
	Arch    string // Go's name
	Size    int64  // bytes, unpacked
}

// Image looks at an image that the Engine has. One that it has not is an error for which IsNotFound holds.
func (h *Host) Image(ctx context.Context, ref string) (Image, error) {
	res, err := h.api.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, h.fail("look at image", ref, err)
	}
	out := Image{ID: res.ID, Digests: res.RepoDigests, Arch: res.Architecture, Size: res.Size}
	if res.Config != nil {
		out.Labels, out.Env, out.User = res.Config.Labels, res.Config.Env, res.Config.User
	}
	return out, nil
}

// Auth are the credentials of one call. They go to the Engine in a header of the call, and stay nowhere on the host.
type Auth struct{ Username, Password, IdentityToken, Registry string }

func (a Auth) header() (string, error) {
	if a == (Auth{}) || a == (Auth{Registry: a.Registry}) {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, ServerAddress: a.Registry})
}

// Digest asks the registry, from the host, which digest a reference has now.
func (h *Host) Digest(ctx context.Context, ref string, a Auth) (string, error) {
	header, err := a.header()
	if err != nil {
		return "", h.fail("resolve image", ref, err)
	}
	res, err := h.api.DistributionInspect(ctx, ref, client.DistributionInspectOptions{EncodedRegistryAuth: header})
	if err != nil {
		return "", h.fail("resolve image", ref, err)
	}
	return res.Descriptor.Digest.String(), nil
}

// Pull pulls an image.
func (h *Host) Pull(ctx context.Context, ref string, a Auth) error {
	header, err := a.header()
	if err != nil {
		return h.fail("pull image", ref, err)
	}
	res, err := h.api.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: header})
	if err != nil {
		return h.fail("pull image", ref, err)
	}
	defer res.Close() //nolint:errcheck // Wait has read it to its end
	return h.fail("pull image", ref, res.Wait(ctx))
}

// Import makes an image named ref, with labels, from the tar of its file system.
func (h *Host) Import(ctx context.Context, ref string, tar io.Reader, labels map[string]string) error {
	var changes []string
	for k, v := range labels {
		changes = append(changes, fmt.Sprintf("LABEL %q=%q", k, v))
	}
	res, err := h.api.ImageImport(ctx, client.ImageImportSource{Source: tar, SourceName: "-"}, ref, client.ImageImportOptions{Changes: changes})
	if err != nil {
		return h.fail("import image", ref, err)
	}
	defer res.Close() //nolint:errcheck // read to its end
	_, err = io.Copy(io.Discard, res)
	return h.fail("import image", ref, err)
}

// RemoveImage removes an image that no container uses. One that is not there is no error.
func (h *Host) RemoveImage(ctx context.Context, ref string) error {
	_, err := h.api.ImageRemove(ctx, ref, client.ImageRemoveOptions{})
	if IsNotFound(err) {
		return nil
	}
	return h.fail("remove image", ref, err)
}
