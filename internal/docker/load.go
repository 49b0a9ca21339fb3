package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
)

// Load loads an image from a tar of `docker save`. Some Engines also take a tar of an OCI layout. It returns the names
// that the Engine gave the image.
func (h *Host) Load(ctx context.Context, tar io.Reader) ([]string, error) {
	ctx, why, stop := h.attend(ctx)
	defer stop()
	res, err := h.api.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return nil, fmt.Errorf("load image into %s: %w", h.target, h.explain(why(err)))
	}
	defer res.Close() // read to its end below
	var names []string
	dec := json.NewDecoder(res)
	for {
		var m jsonstream.Message
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return names, fmt.Errorf("load image into %s: %w", h.target, h.explain(why(err)))
		case m.Error != nil:
			return names, fmt.Errorf("load image into %s: %s", h.target, m.Error.Message)
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(m.Stream), "Loaded image"); ok {
			_, name, _ = strings.Cut(name, ": ")
			names = append(names, name)
		}
	}
}
