// Command selfimage builds the container image of raybuild itself with raybuild's own llb
// package, without a Dockerfile:
//
//	selfimage --version v0.1.0 registry.example/raybuild:v0.1.0   # push
//	selfimage --version v0.1.0 --output raybuild.tar              # an OCI archive
//
// `make image` calls it. The image has the program, its licences, and Debian's runc, certificates
// and SSH client, for the CPU of this machine. The packages have the versions of the day. So,
// unlike raybuild's images of Ray, this image may have other bytes on another day.
//
// The image starts as root, because the embedded engine needs root or a user namespace. A build
// inside it needs --privileged:
//
//	docker run --privileged -v raybuild:/var/lib/raybuild -v "$PWD":/work IMAGE --push registry.example/ray:2.60.0
//
// With another builder (--builder), and for commands that build nothing (plan, why, diff, inspect,
// cluster), it needs no privileges, and any user works:
//
//	docker run --user "$(id -u)" -v "$PWD":/work IMAGE plan
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "selfimage:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and the signal handler with it
	}
}

// options are the flags of the command line.
type options struct {
	base, program, version, revision, builder, output string
	packages, docs                                    []string
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "selfimage [IMAGE…]", Short: "Build the container image of raybuild itself",
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, names []string) error { return run(cmd.Context(), o, names, cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.base, "base", "debian:12-slim", "image to build on")
	f.StringSliceVar(&o.packages, "packages", []string{"ca-certificates", "openssh-client", "runc"},
		"Debian packages to install; '' for a base without apt")
	f.StringVar(&o.program, "program", "bin/raybuild", "the static raybuild")
	f.StringSliceVar(&o.docs, "docs", nil, "files and directories for /"+docDir)
	f.StringVar(&o.version, "version", "dev", "version, for labels and history")
	f.StringVar(&o.revision, "revision", "", "git's commit, for labels")
	f.StringVar(&o.builder, "builder", "", "as that of raybuild; the embedded engine is the raybuild in PATH")
	f.StringVar(&o.output, "output", "", "write an OCI archive to this file")
	return cmd
}

func run(ctx context.Context, o options, names []string, stdout io.Writer) error {
	if o.output == "" && len(names) == 0 {
		return errors.New("build image: name an IMAGE to push, or a file to write with --output")
	}
	created, err := createdTime(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	s := settings{version: o.version, revision: o.revision, created: created}
	for _, p := range o.packages {
		if p = strings.TrimSpace(p); p != "" {
			s.packages = append(s.packages, p)
		}
	}
	platform := llb.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if s.base, err = registry.New(registry.Options{}).Resolve(ctx, o.base, platform); err != nil {
		return err
	}
	if s.files, err = archive(o.program, o.docs); err != nil {
		return err
	}
	image, err := selfImage(s)
	if err != nil {
		return err
	}
	return build(ctx, o, names, image, s.files, stdout)
}

// build builds the image, pushes it to names, and writes it to o.output.
func build(ctx context.Context, o options, names []string, image llb.Image, files []byte, stdout io.Writer) error {
	b, err := builder.Connect(ctx, builder.Options{
		Name: o.builder, Home: raybuild.Options{}.MakeHome, Getenv: os.Getenv, Notes: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer b.Close()
	how := llb.BuildOptions{
		SolveOptions: llb.SolveOptions{ProgressTo: os.Stderr, Title: "Building raybuild's own image"},
		Names:        names, Push: len(names) > 0, Annotations: image.Config.Labels,
	}
	if o.output != "" {
		file, err := os.Create(o.output)
		if err != nil {
			return fmt.Errorf("write image: %w", err)
		}
		how.OCI = file // closed by the build
	}
	result, err := b.Build(ctx, []llb.Image{image}, llb.Session{Artifacts: memory{digest.FromBytes(files): files}}, how)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintf(stdout, "%s@%s\n", name, result.Digest)
	}
	if o.output != "" {
		fmt.Fprintf(stdout, "%s %s\n", o.output, result.Digest)
	}
	return nil
}

// createdTime returns the image's time: SOURCE_DATE_EPOCH, or zero, which means llb's default time.
func createdTime(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH %q: want seconds since 1970: mend it or unset it", epoch)
	}
	return time.Unix(seconds, 0), nil
}

// memory has artifacts in memory, by digest.
type memory map[digest.Digest][]byte

// Open returns an artifact for the builder.
func (m memory) Open(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	data, ok := m[d]
	if !ok {
		return nil, 0, fmt.Errorf("open artifact %q: it is none of this image", d)
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}
