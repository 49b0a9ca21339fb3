package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/world"
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

// ReadLock reads the part of a lock that is for this machine.
func ReadLock(file string) (*layers.LockPlatform, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lock, err := layers.ParseLock(data, file)
	if err != nil {
		return nil, err
	}
	mine := lock.Platforms["linux/"+runtime.GOARCH]
	if mine == nil {
		return nil, fmt.Errorf("read %q: it has no linux/%s", file, runtime.GOARCH)
	}
	return mine, nil
}

// Artifacts are the lock's artifacts of a kind.
func Artifacts(lock *layers.LockPlatform, kind string) []layers.Artifact {
	var out []layers.Artifact
	for _, l := range lock.Layers {
		for _, a := range l.Artifacts {
			if a.Kind == kind {
				out = append(out, a)
			}
		}
	}
	return out
}

// Context is the build context of a Dockerfile that makes the image of a lock.
type Context struct {
	// Dir is the context's directory, Dockerfile the directory of its Dockerfile.
	Dir, Dockerfile string
	// Lock says what is in the image; Mirror is where the Dockerfile's steps fetch from.
	Lock   *layers.LockPlatform
	Mirror world.Mirror
	// List names the list that a wheel is in: a file LIST.txt for each. Default: ray is in a list
	// of its own, all others are in requirements.
	List func(wheel string) string
	// GzipLevel is asked of BuildKit for the image's layers. Default: BuildKit's own, 6.
	GzipLevel int
}

// Alone is a [Context.List] that puts each of the wheels into a list of its own name, and all others into requirements.
func Alone(wheels ...string) func(wheel string) string {
	return func(wheel string) string {
		if slices.Contains(wheels, wheel) {
			return wheel
		}
		return "requirements"
	}
}

// Write writes the lock in the forms that apt, conda and pip read: the Dockerfile's side builds the same packages.
func (c Context) Write() error {
	list := c.List
	if list == nil {
		list = Alone("ray")
	}
	var apt, explicit strings.Builder
	files := map[string]string{"activate.sh": activate,
		"debian.sources": fmt.Sprintf(sources, c.Mirror.Apt, c.Lock.Base.Codename)}
	for _, a := range Artifacts(c.Lock, layers.KindDeb) {
		fmt.Fprintf(&apt, "%s=%s\n", a.Name, a.Version)
	}
	explicit.WriteString("@EXPLICIT\n")
	for _, a := range Artifacts(c.Lock, layers.KindConda) {
		channel := a.Origin
		if !strings.HasPrefix(channel, "pkgs/") {
			channel = "cloud/" + channel // as mirrors of Anaconda lay it out
		}
		fmt.Fprintf(&explicit, "%s/%s/%s#%s\n", c.Mirror.Conda, channel, a.Path, a.MD5)
	}
	for _, a := range Artifacts(c.Lock, layers.KindWheel) {
		files[list(a.Name)+".txt"] += fmt.Sprintf("%s==%s --hash=sha256:%s\n", a.Name, a.Version, a.SHA256)
	}
	if n := len(Artifacts(c.Lock, layers.KindSdist)); n != 0 {
		return fmt.Errorf("write the Dockerfile's files: the lock has %d source distributions, and the "+
			"Dockerfile builds none", n)
	}
	files["apt.txt"], files["explicit.txt"] = apt.String(), explicit.String()
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// BuildArgs are the Dockerfile's arguments, as NAME=VALUE.
func (c Context) BuildArgs() ([]string, error) {
	installers := Artifacts(c.Lock, layers.KindInstaller)
	if len(installers) != 1 {
		return nil, fmt.Errorf("find the installer: the lock has %d", len(installers))
	}
	return []string{
		"BASE=" + c.Lock.Base.Reference + "@" + c.Lock.Base.Digest.String(),
		"INSTALLER_URL=" + c.Mirror.Installer + "/" + installers[0].Path,
		"INSTALLER_SHA256=" + installers[0].SHA256,
		"PIP_INDEX_URL=" + c.Mirror.Pip,
	}, nil
}

// BuildctlArgs are the arguments of buildctl for a build on the engine of home, which is started
// where it does not run. The image is pushed to ref; to nowhere where ref is empty. More are
// further arguments.
func (b *Bed) BuildctlArgs(ctx context.Context, home, ref string, c Context, more ...string) ([]string, error) {
	addr, err := engine.Ensure(ctx, b.Engine(home))
	if err != nil {
		return nil, err
	}
	args := []string{"--addr", addr, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
		// Mirrors and registry are on this machine's loopback.
		"--allow", "network.host", "--opt", "force-network-mode=host",
		"--local", "context=" + c.Dir, "--local", "dockerfile=" + c.Dockerfile}
	values, err := c.BuildArgs()
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		args = append(args, "--opt", "build-arg:"+v)
	}
	if ref != "" {
		output := "type=image,push=true,name=" + ref
		if c.GzipLevel != 0 {
			output += fmt.Sprintf(",compression=gzip,compression-level=%d", c.GzipLevel)
		}
		args = append(args, "--output", output)
	}
	return append(args, more...), nil
}
