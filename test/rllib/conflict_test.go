package rllib

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Two versions that pip installs together without a word, and that crash together: tensorflow from
// 2.20 on shows the LLVM in it to the whole process, and triton, which torch from 2.12 on brings,
// takes that for its own (https://github.com/tensorflow/tensorflow/issues/124205). torch imports
// triton when it makes its first optimizer, so it is imports in that order that the test of the
// image has to try.
const (
	tensorflow = "tensorflow==2.21.0"
	torch      = "torch==2.12.0"
)

// conflictGB is the disk that the image takes at most: its wheels, layers packed and unpacked, and the registry.
const conflictGB = 30

// firstOptimizer is what RLlib does when it makes a learner.
const firstOptimizer = `python -c "import tensorflow, torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]); print('made')"`

var rayAndPip = regexp.MustCompile(`(?m)^ray: .*\npip: .*\n`)

// TestTensorflowWithTorch builds an image with both. Either it passes its test, or the build fails
// with both packages named and the image has no name. An image that passes and crashes at an
// optimizer is a failure. `make test-rllib` runs it.
func TestTensorflowWithTorch(t *testing.T) {
	if os.Getenv(runEnv) == "" {
		t.Skip("make test-rllib runs it: it takes much disk and many minutes")
	}
	p := newPlace(t, "", conflictGB)
	p.start(t, "")
	if err := p.testEnv.NotReal; err != nil {
		t.Fatal(err)
	}
	recipe := rayAndPip.ReplaceAllString(string(p.testEnv.RealRecipe()), fmt.Sprintf(
		"ray: {version: 2.60.0, extras: [default, rllib, tune]}\npip: [%q, %q]\n", tensorflow, torch))
	if !strings.Contains(recipe, tensorflow) {
		t.Fatalf("the world's recipe is not as this test knows it:\n%s", recipe)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "raybuild.yaml"), []byte(recipe), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(p.dir, "h")
	t.Cleanup(func() { p.endBuilder(t, home) })
	passes := map[string]bool{}
	for _, tt := range []struct {
		tag  string
		args []string
		says []string // where it fails
	}{
		{"imports", nil, []string{named(tensorflow), named(torch), "got no name", "--smoke=false"}},
		{"optimizer", []string{"--set", "smoke=" + firstOptimizer},
			[]string{"the recipe's command (smoke) failed", "the image has no name"}},
	} {
		start := time.Now()
		said, err := p.push(t, home, tt.tag, tt.args...)
		passes[tt.tag] = err == nil
		t.Logf("%s with %s, test of %s: passed %v after %.0f s\n%s",
			tensorflow, torch, tt.tag, err == nil, time.Since(start).Seconds(), lastLines(said, 12))
		if there := p.has(t, tt.tag); there != (err == nil) {
			t.Errorf("the test of %s passed: %v; the image has a name: %v", tt.tag, err == nil, there)
		}
		for _, text := range tt.says {
			if err != nil && !strings.Contains(said, text) {
				t.Errorf("the error of the test of %s does not say %q", tt.tag, text)
			}
		}
	}
	if passes["imports"] && !passes["optimizer"] {
		t.Error("the image passed the test of its imports, and crashes at torch's first optimizer")
	}
}

// named is a requirement as errors name the package that was installed.
func named(requirement string) string { return strings.Replace(requirement, "==", " ", 1) }

// push builds the recipe and pushes it under a tag. It gives what the program said.
func (p *place) push(t *testing.T, home, tag string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, p.program, append(append([]string{"--push", "--progress", "plain"}, args...),
		p.tagged(tag))...)
	cmd.Dir, cmd.Stderr = p.dir, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "RAYBUILD_HOME=" + home}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1 || ctx.Err() != nil) {
		t.Fatalf("raybuild --push: %v\n%s", err, lastLines(said.String(), 40))
	}
	return said.String(), err
}

func (p *place) tagged(tag string) string { return p.testEnv.Registry + "/both:" + tag }

// has tells whether the registry has the tag.
func (p *place) has(t *testing.T, tag string) bool {
	t.Helper()
	ref, err := name.ParseReference(p.tagged(tag), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.Head(ref, remote.WithContext(t.Context()))
	var refused *transport.Error
	if err != nil && (!errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func lastLines(text string, n int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
