package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"

	"github.com/raybuild/raybuild/internal/uv"
)

// Debian's setuptools (66) is older than what torch 2.13 and later require (77.0.3), and a real
// conda channel has a newer one. So the stand-in channel has this wheel as well, where the Python
// index answers. The digest is PyPI's.
const (
	setuptoolsWheel  = "setuptools-80.9.0-py3-none-any.whl"
	setuptoolsSHA256 = "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922"
)

// realSetuptools brings the wheel of a current setuptools into cache, and gives its path.
func realSetuptools(ctx context.Context, index, cache string) (string, error) {
	return realWheel(ctx, index, cache, "setuptools", setuptoolsWheel, setuptoolsSHA256)
}

// placeUV puts the wheel of the uv that raybuild runs on this machine where PyPI has it, into the
// stand-in index's directory.
func placeUV(ctx context.Context, index, cache, dir string) error {
	w, err := uv.HostWheel()
	if err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.FromSlash(w.Path))
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	file, err := realWheel(ctx, index, cache, "uv", w.Filename(), w.SHA256)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Link(file, to); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// realWheel brings a wheel from the Python index into cache, and gives its path.
func realWheel(ctx context.Context, index, cache, project, name, sum string) (string, error) {
	file := filepath.Join(cache, name)
	if data, err := os.ReadFile(file); err == nil && sha(data) == sum {
		return file, nil
	}
	page := index + "/" + project + "/"
	text, err := download(ctx, page)
	if err != nil {
		return "", err
	}
	link := regexp.MustCompile(`href="([^"#]*` + regexp.QuoteMeta(name) + `)[#"]`).FindSubmatch(text)
	if link == nil {
		return "", fmt.Errorf("find %s: the index does not have it", name)
	}
	base, err := url.Parse(page)
	if err != nil {
		return "", err
	}
	at, err := base.Parse(string(link[1]))
	if err != nil {
		return "", err
	}
	data, err := download(ctx, at.String())
	if err != nil {
		return "", err
	}
	if got := sha(data); got != sum {
		return "", fmt.Errorf("check %s: its sha256 is %s, want %s", name, got, sum)
	}
	return file, os.WriteFile(file, data, 0o644)
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// download reads what an index serves; of a page at most 64 MB.
func download(ctx context.Context, from string) (data []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Python index %q: %w", hostOf(from), err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Python index %q: it answered %s", hostOf(from), resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 64<<20))
}
