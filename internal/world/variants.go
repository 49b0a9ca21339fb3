package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/world/channel"
	"github.com/raybuild/raybuild/internal/world/debian"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

// baseRepository is where the base images are in the registry.
const baseRepository = "world/debian"

// RayVariant is the version of the n-th of Options.Variants of ray, from 1.
func RayVariant(n int) string {
	return fmt.Sprintf("%s.%d", RayNew[:strings.LastIndex(RayNew, ".")], n)
}

// TorchVariant is that of torch, PythonVariant that of the channel's Python, MinicondaVariant that of the installer.
func TorchVariant(n int) string { return pypi.TorchVariant(n) }

// PythonVariant is the version of the n-th further Python, from 1.
func PythonVariant(n int) string { return channel.PythonVariant(n) }

// MinicondaVariant is the version of the n-th further Miniconda-like installer, from 1.
func MinicondaVariant(n int) string { return channel.MinicondaVariant(n) }

// PatchBase pushes a further security-patched successor of the base image, with bytes that no other
// n has, and gives its reference.
func (w *World) PatchBase(ctx context.Context, n int) (string, error) {
	dir, err := os.MkdirTemp("", "raybuild-world-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	image, err := debian.Repatched(w.images.Patched, n, filepath.Join(dir, "rootfs.tar"))
	if err != nil {
		return "", fmt.Errorf("patch base image: %w", err)
	}
	ref, err := name.ParseReference(fmt.Sprintf("%s-patched-%d", w.Base, n), name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithJobs(2)); err != nil {
		return "", fmt.Errorf("push base image %q: %w", ref, err)
	}
	return ref.String(), nil
}
