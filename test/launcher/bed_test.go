// Package launcher tests the launcher on real hosts: each with its own address, sshd and Docker
// Engine, made by test/hosts.sh on this machine. What runs in the containers is a stand-in for Ray;
// each test says which.
package launcher

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/internal/testneeds"
	hosts "github.com/raybuild/raybuild/test/bed"
)

// bed is three hosts and a registry that they reach, with images for them. All tests of the package share it.
type bed struct {
	*hosts.Bed
	image string // name@sha256:… of miniray
	moved string // another image of it
	world string // name@sha256:… of the offline world's image, once a test has asked for it
}

var (
	theBed  *bed
	bedOnce sync.Once
	errBed  error
)

func TestMain(m *testing.M) {
	if r := os.Getenv(upEnv); r != "" {
		os.Exit(runUp(r))
	}
	if list := os.Getenv(probeEnv); list != "" {
		os.Exit(runProbe(list))
	}
	code := m.Run()
	if err := os.RemoveAll(programDir); err != nil {
		log.Print(err)
		code = 1
	}
	if theBed != nil {
		if err := theBed.Close(); err != nil {
			log.Print(err)
			code = 1
		}
	}
	os.Exit(code)
}

// needBed returns the hosts, or skips where they cannot be had.
func needBed(t *testing.T) *bed {
	t.Helper()
	testneeds.Skip(t, hosts.Missing())
	bedOnce.Do(func() { theBed, errBed = makeBed() })
	if errBed != nil {
		t.Fatal(errBed)
	}
	return theBed
}

func makeBed() (*bed, error) {
	all, err := hosts.Start(hosts.Options{})
	if err != nil {
		return nil, err
	}
	b := &bed{Bed: all}
	if b.image, err = b.push("miniray", "1"); err == nil {
		b.moved, err = b.push("miniray", "2")
	}
	return b, err
}

// push builds an image with miniray as its `ray` and pushes it.
func (b *bed) push(repo, mark string) (string, error) {
	bin := filepath.Join(filepath.Dir(b.Dir), "miniray")
	if _, err := os.Stat(bin); err != nil {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./miniray")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build miniray: %w\n%s", err, out)
		}
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	shell, err := os.ReadFile("/bin/busybox") // what waits at the gate of a packet filter
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"bin/ray", 0o755, data}, {"bin/sh", 0o755, shell}, {"mark", 0o644, []byte(mark)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return "", err
		}
		if _, err := w.Write(f.data); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		RootFS: must(img.ConfigFile()).RootFS,
		Config: v1.Config{Env: []string{"PATH=/bin"},
			Labels: map[string]string{"dev.raybuild.ray": "2.52.0", "dev.raybuild.python": "3.12.3"}}})
	if err != nil {
		return "", err
	}
	ref, err := name.ParseReference(b.Registry+"/"+repo+":"+mark, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img); err != nil {
		return "", err
	}
	d, err := img.Digest()
	return b.Registry + "/" + repo + "@" + d.String(), err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
