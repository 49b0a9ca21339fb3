package layers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// hashOf fetches a file by its URL, from the mirrors if they have its source, and tells its sha256 and size.
func (r *Resolver) hashOf(ctx context.Context, at string) (sum string, size int64, err error) {
	end, err := r.in.shown.step(ctx, "ray", "fetch "+shorten([]string{at}, 80))
	if err != nil {
		return "", 0, err
	}
	defer end()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := r.Client().Do(req)
	if err != nil {
		return "", 0, fmt.Errorf("fetch %q: %w", at, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // what came of it tells enough
		return "", 0, fmt.Errorf("fetch %q: %s: %s", at, resp.Status, strings.TrimSpace(string(text)))
	}
	h := sha256.New()
	if size, err = io.Copy(h, resp.Body); err != nil {
		return "", 0, fmt.Errorf("fetch %q: %w", at, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// size asks a canonical URL how long it is; 0 where the answer does not say.
func (r *Resolver) size(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := r.Client().Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask for the size of %q: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask for the size of %q: %s; see that the version exists, or name another mirror in "+
			"mirrors.fetch", url, resp.Status)
	}
	return max(resp.ContentLength, 0), nil
}
