package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/layers"
)

// activate is what the image's login shells read; raybuild writes the like.
const activate = `PATH=/opt/conda/envs/ray/bin:/opt/conda/condabin:$PATH
export PATH CONDA_PREFIX=/opt/conda/envs/ray CONDA_DEFAULT_ENV=ray
if [ -e /opt/conda/etc/profile.d/conda.sh ]; then
	. /opt/conda/etc/profile.d/conda.sh
fi
`

const sources = `Types: deb
URIs: %[1]s
Suites: %[2]s %[2]s-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: %[1]s-security
Suites: %[2]s-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

func (p *place) readLock() error {
	file := filepath.Join(p.dir, "raybuild.lock")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lock, err := layers.ParseLock(data, file)
	if err != nil {
		return err
	}
	if p.lock = lock.Platforms["linux/"+runtime.GOARCH]; p.lock == nil {
		return fmt.Errorf("read %q: it has no linux/%s", file, runtime.GOARCH)
	}
	return nil
}

// artifacts are the lock's artifacts of a kind.
func (p *place) artifacts(kind string) []layers.Artifact {
	var out []layers.Artifact
	for _, l := range p.lock.Layers {
		for _, a := range l.Artifacts {
			if a.Kind == kind {
				out = append(out, a)
			}
		}
	}
	return out
}

func (p *place) context() string { return filepath.Join(p.dir, "context") }

// writeContext writes the lock in the forms that apt, conda and pip read: the Dockerfile's side builds the same packages.
func (p *place) writeContext() error {
	var apt, explicit, requirements, ray strings.Builder
	for _, a := range p.artifacts(layers.KindDeb) {
		fmt.Fprintf(&apt, "%s=%s\n", a.Name, a.Version)
	}
	explicit.WriteString("@EXPLICIT\n")
	for _, a := range p.artifacts(layers.KindConda) {
		channel := a.Origin
		if !strings.HasPrefix(channel, "pkgs/") {
			channel = "cloud/" + channel // as mirrors of Anaconda lay it out
		}
		fmt.Fprintf(&explicit, "%s/%s/%s#%s\n", p.world.A.Conda, channel, a.Path, a.MD5)
	}
	for _, a := range p.artifacts(layers.KindWheel) {
		to := &requirements
		if a.Name == "ray" {
			to = &ray
		}
		fmt.Fprintf(to, "%s==%s --hash=sha256:%s\n", a.Name, a.Version, a.SHA256)
	}
	if n := len(p.artifacts(layers.KindSdist)); n != 0 {
		return fmt.Errorf("write the Dockerfile's files: the lock has %d source distributions, and the Dockerfile builds none", n)
	}
	if err := os.MkdirAll(p.context(), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"apt.txt": apt.String(), "explicit.txt": explicit.String(), "requirements.txt": requirements.String(), "ray.txt": ray.String(),
		"activate.sh": activate, "debian.sources": fmt.Sprintf(sources, p.world.A.Apt, p.lock.Base.Codename),
	} {
		if err := os.WriteFile(filepath.Join(p.context(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// buildctlArgs are those of a build that is pushed to ref; to nowhere where ref is empty.
func (p *place) buildctlArgs(addr, ref string, more ...string) ([]string, error) {
	installers := p.artifacts(layers.KindInstaller)
	if len(installers) != 1 {
		return nil, fmt.Errorf("find the installer: the lock has %d", len(installers))
	}
	args := []string{"--addr", addr, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
		"--local", "context=" + p.context(), "--local", "dockerfile=" + p.dockerfile}
	for _, opt := range append([]string{
		"build-arg:BASE=" + p.lock.Base.Reference + "@" + p.lock.Base.Digest.String(),
		"build-arg:INSTALLER_URL=" + p.world.A.Installer + "/" + installers[0].Path,
		"build-arg:INSTALLER_SHA256=" + installers[0].SHA256,
		"build-arg:PIP_INDEX_URL=" + p.world.A.Pip,
	}, more...) {
		args = append(args, "--opt", opt)
	}
	if ref != "" {
		args = append(args, "--output", "type=image,push=true,name="+ref)
	}
	return args, nil
}

// buildctlBuild builds the Dockerfile on the engine of home, which is started where it does not run, and pushes it to ref.
func (p *place) buildctlBuild(ctx context.Context, home, ref string, more ...string) (sample, error) {
	addr, err := engine.Ensure(ctx, p.engine(home))
	if err != nil {
		return sample{}, err
	}
	args, err := p.buildctlArgs(addr, ref, more...)
	if err != nil {
		return sample{}, err
	}
	return p.time(ctx, home, p.buildctl, args...)
}
