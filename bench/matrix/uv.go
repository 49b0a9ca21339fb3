package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// uvVersion is the newest uv of PyPI when these Dockerfiles were written.
const uvVersion = "0.13.9"

// simpleJSON is PEP 691's type of an index page, simpleHTML PEP 503's.
const (
	simpleJSON = "application/vnd.pypi.simple.v1+json"
	simpleHTML = "text/html"
)

// pushUV brings uv to the registry at host, as its authors publish it: an image that has the program at /uv. The
// program is that of the wheel in the Python index. The reference is pinned.
func pushUV(ctx context.Context, index, host string) (string, error) {
	program, err := uvProgram(ctx, index)
	if err != nil {
		return "", fmt.Errorf("get uv %s: %w", uvVersion, err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	header := &tar.Header{Name: "uv", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return "", err
	}
	if _, err := w.Write(program); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open)
	if err != nil {
		return "", err
	}
	config := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}}
	image, err := mutate.ConfigFile(empty.Image, config)
	if err == nil {
		image, err = mutate.AppendLayers(image, layer)
	}
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewDigest(host+"/tools/uv@"+digest.String(), name.Insecure)
	if err != nil {
		return "", err
	}
	return ref.String(), remote.Write(ref, image, remote.WithContext(ctx))
}

// uvProgram is the program in uv's wheel for this machine.
func uvProgram(ctx context.Context, index string) ([]byte, error) {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	wheel, err := indexFile(ctx, index+"/uv/", func(file string) bool {
		return strings.HasPrefix(file, "uv-"+uvVersion+"-py3-none-manylinux_") &&
			strings.HasSuffix(file, "_"+machine+".whl")
	})
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(bytes.NewReader(wheel), int64(len(wheel)))
	if err != nil {
		return nil, err
	}
	f, err := z.Open("uv-" + uvVersion + ".data/scripts/uv")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// indexFile is the first file of a project's page that is wanted, of the digest that the page says.
func indexFile(ctx context.Context, page string, want func(file string) bool) ([]byte, error) {
	var text bytes.Buffer
	if err := get(ctx, page, simpleJSON, &text); err != nil {
		return nil, err
	}
	var project struct {
		Files []struct {
			Filename, URL string
			Hashes        map[string]string
		}
	}
	if err := json.Unmarshal(text.Bytes(), &project); err != nil {
		return nil, fmt.Errorf("read %q: %w", page, err)
	}
	base, err := url.Parse(page)
	if err != nil {
		return nil, err
	}
	for _, f := range project.Files {
		if !want(f.Filename) {
			continue
		}
		at, err := base.Parse(f.URL)
		if err != nil {
			return nil, err
		}
		var data bytes.Buffer
		if err := get(ctx, at.String(), "", &data); err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(data.Bytes()); hex.EncodeToString(sum[:]) != f.Hashes["sha256"] {
			return nil, fmt.Errorf("read %q: its SHA-256 is not that of the index", f.Filename)
		}
		return data.Bytes(), nil
	}
	return nil, fmt.Errorf("find the file in %q: it has none for this machine", page)
}

// get copies what is at an address. Nothing there is a [missing].
func get(ctx context.Context, address, accept string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return missing(fmt.Sprintf("get %q: %s", address, resp.Status))
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// missing is an answer that says no.
type missing string

func (m missing) Error() string { return string(m) }
