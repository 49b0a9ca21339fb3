package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// newToken makes a token of 256 random bits.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// carrier runs f with a created, never started container that mounts the token's volume. It makes the volume.
func carrier(ctx context.Context, h *docker.Host, m mark, f func(id string) error) error {
	if err := ensureToolImage(ctx, h, ""); err != nil {
		return err
	}
	name := "raybuild-token-" + m.cluster
	if err := h.Remove(ctx, name); err != nil { // left by a launcher that was killed; the lock is ours
		return err
	}
	labels, volume := m.labels(roleToken), tokenVolume(m.cluster)
	v, err := h.CreateVolume(ctx, volume, labels)
	if err != nil {
		return err
	}
	if m.foreign(v.Labels) {
		return fmt.Errorf("volume %q has the token of another cluster, of id %s; give this one another name, or "+
			"remove that volume", volume, textOf(v.Labels[labelID]))
	}
	id, err := h.Create(ctx, docker.Create{Name: name, Image: toolImage, Cmd: []string{"/raybuild"}, Labels: labels,
		Mounts: []docker.Mount{{Volume: true, Source: volume, Target: tokenDir}}})
	if err != nil {
		return err
	}
	err = f(id)
	if gone := h.Remove(context.WithoutCancel(ctx), id); err == nil {
		err = gone
	}
	return err
}

// putToken delivers the token to a host, as a root-owned read-only file in a volume: no argument,
// environment or label has it.
func putToken(ctx context.Context, h *docker.Host, m mark, token string) error {
	err := carrier(ctx, h, m, func(id string) error {
		return h.PutTar(ctx, id, tokenDir, docker.TarFile("token", 0o444, []byte(token)))
	})
	if err != nil {
		return fmt.Errorf("deliver the token: %w", err)
	}
	return nil
}

// readToken reads a cluster's token from a container of it.
func readToken(ctx context.Context, h *docker.Host, id string) (string, error) {
	data, err := h.ReadFile(ctx, id, tokenPath)
	if err != nil {
		return "", fmt.Errorf("read the cluster's token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// keptToken reads a cluster's token from where the head's host keeps it, which only root may. For a
// copy out of a container an Engine runs its own program once more (20.10: 60 ms of CPU).
func keptToken(ctx context.Context, h *docker.Host, head containerState) (string, error) {
	if head.Token == "" {
		return readToken(ctx, h, head.ID)
	}
	data, err := h.Run(ctx, nil, "cat", head.Token+"/token")
	if t := strings.TrimSpace(string(data)); err == nil && t != "" {
		return t, nil
	}
	return readToken(ctx, h, head.ID)
}
