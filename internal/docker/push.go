package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"
)

// PushedLayer is the progress of one layer in a push.
type PushedLayer struct {
	ID         string // the first twelve digits of the digest of the layer's unpacked tar
	Sent, Size int64  // bytes; Size is 0 where the Engine does not know it
	Done       bool
	Reused     bool // the registry had it
}

// Push pushes the Engine's image of this name and returns its digest in the registry. progress may be nil. Push reads
// the Engine's messages about layers: moby/moby, daemon/internal/distribution/push_v2.go.
func (h *Host) Push(ctx context.Context, ref string, a Auth, progress func(PushedLayer)) (string, error) {
	header, err := a.header()
	if err != nil {
		return "", h.fail("push image", ref, err)
	}
	if header == "" {
		header = "e30=" // {}: engines before 28 refuse a push without the header
	}
	res, err := h.api.ImagePush(ctx, ref, client.ImagePushOptions{RegistryAuth: header})
	if err != nil {
		return "", h.fail("push image", ref, err)
	}
	defer res.Close() // read to its end below
	pushed := ""
	for m, err := range res.JSONMessages(ctx) {
		switch {
		case err != nil:
			return "", h.fail("push image", ref, err)
		case m.Error != nil:
			return "", h.fail("push image", ref, errors.New(m.Error.Message))
		case m.Aux != nil:
			var aux struct{ Digest string }
			if err := json.Unmarshal(*m.Aux, &aux); err != nil {
				return "", h.fail("push image", ref, fmt.Errorf("read the Engine's answer: %w", err))
			}
			if aux.Digest != "" {
				pushed = aux.Digest
			}
		case m.ID != "" && progress != nil:
			l := PushedLayer{ID: m.ID}
			if m.Progress != nil {
				l.Sent, l.Size = m.Progress.Current, m.Progress.Total
			}
			l.Reused = m.Status == "Layer already exists" || strings.HasPrefix(m.Status, "Mounted from ")
			if l.Done = l.Reused || m.Status == "Pushed"; l.Done || m.Status == "Pushing" {
				progress(l)
			}
		}
	}
	if pushed == "" {
		return "", h.fail("push image", ref, errors.New("the Engine did not say what it pushed"))
	}
	return pushed, nil
}
