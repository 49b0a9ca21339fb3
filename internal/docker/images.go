package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

// Image describes an image of an Engine.
type Image struct {
	ID      string   // sha256:… of its config
	Digests []string // name@sha256:… that it was pulled or pushed as
	Labels  map[string]string
	Env     []string
	User    string
	Arch    string   // Go's name
	Size    int64    // bytes, unpacked
	Layers  []string // digests of its unpacked layers (diff IDs), the lowest first
}

// Image inspects an image of the Engine. If the Engine does not have it, IsNotFound holds for the error.
func (h *Host) Image(ctx context.Context, ref string) (Image, error) {
	res, err := h.api.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, h.fail("look at image", ref, err)
	}
	out := Image{ID: res.ID, Digests: res.RepoDigests, Arch: res.Architecture, Size: res.Size,
		Layers: res.RootFS.Layers}
	if res.Config != nil {
		out.Labels, out.Env, out.User = res.Config.Labels, res.Config.Env, res.Config.User
	}
	return out, nil
}

// Auth are the credentials of one call. The Engine gets them in a header of the call and does not keep them.
type Auth struct{ Username, Password, IdentityToken, Registry string }

func (a Auth) header() (string, error) {
	if a == (Auth{}) || a == (Auth{Registry: a.Registry}) {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig{Username: a.Username, Password: a.Password,
		IdentityToken: a.IdentityToken, ServerAddress: a.Registry})
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

// Pull pulls an image. received counts the bytes of layers that came over the wire: the Engine fetches only layers
// that it lacks.
func (h *Host) Pull(ctx context.Context, ref string, a Auth) (received int64, err error) {
	header, err := a.header()
	if err != nil {
		return 0, h.fail("pull image", ref, err)
	}
	ctx, why, stop := h.attend(ctx)
	defer stop()
	res, err := h.api.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: header})
	if err != nil {
		return 0, h.fail("pull image", ref, why(err))
	}
	defer res.Close() // it is read to its end
	layers := map[string]int64{}
	for m, err := range res.JSONMessages(ctx) {
		switch {
		case err != nil:
			return 0, h.fail("pull image", ref, why(err))
		case m.Error != nil:
			return 0, h.fail("pull image", ref, why(m.Error))
		case (m.Status == "Downloading" || m.Status == "Extracting") && m.Progress != nil:
			// Both tell the layer's size as stored. The Engine sends them now and then: of a small
			// layer only the latter, maybe.
			layers[m.ID] = max(layers[m.ID], m.Progress.Current, m.Progress.Total)
		}
	}
	for _, n := range layers {
		received += n
	}
	return received, nil
}

// TinyImage makes a tar for Load. Its image has the name ref and one small file. The same arguments give the same
// bytes, so a second Load leaves one image. arch is Go's name of a CPU.
func TinyImage(ref, arch string, labels map[string]string) (io.Reader, error) {
	layer, err := io.ReadAll(TarFile("raybuild", 0o444, []byte("never run\n")))
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{"architecture": arch, "os": "linux", "created": "1980-01-01T00:00:00Z",
		"config":  map[string]any{"Labels": labels},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer)}},
		"history": []any{map[string]string{"created": "1980-01-01T00:00:00Z", "created_by": "raybuild"}}})
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(digestOf(config), "sha256:") + ".json"
	manifest, err := json.Marshal([]any{map[string]any{"Config": name, "RepoTags": []string{ref},
		"Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{name, config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o444, Size: int64(len(f.data)),
			ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// RemoveImage removes an image that no container uses. It is no error if the image is not there.
func (h *Host) RemoveImage(ctx context.Context, ref string) error {
	_, err := h.api.ImageRemove(ctx, ref, client.ImageRemoveOptions{})
	if IsNotFound(err) {
		return nil
	}
	return h.fail("remove image", ref, err)
}
