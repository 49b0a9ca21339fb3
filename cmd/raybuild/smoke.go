package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// smokeScript is run in the image as it is started: by its user, with its variables. It gets the expected version of Ray and
// the modules to import.
const smokeScript = `ray --version
python - "$@" <<'PYTHON'
import importlib, importlib.util, sys
import ray
if ray.__version__ != sys.argv[1]:
    sys.exit("ray is %s, not %s" % (ray.__version__, sys.argv[1]))
for name in sys.argv[2:]:
    if importlib.util.find_spec(name):  # not every version of Ray has each of them
        importlib.import_module(name)
PYTHON
test "$(pwd)" = "$WORKDIR"
file=$(mktemp "$HOME/.smoke.XXXXXX")
rm "$file"
id -u > /tmp/raybuild-smoke
`

// smokeModules are what an extra of Ray lets a program import: Ray's documentation, "Installing Ray".
func smokeModules(extras []string) []string {
	known := map[string]string{"tune": "ray.tune", "rllib": "ray.rllib", "serve": "ray.serve", "data": "ray.data", "train": "ray.train"}
	var modules []string
	for _, extra := range extras {
		if m, ok := known[extra]; ok {
			modules = append(modules, m)
		}
	}
	return modules
}

// smoke tests each image that this machine's CPU can run, in the merged filesystem.
func (j *job) smoke(ctx context.Context, b *builder, graph *layers.Graph, session llb.Session) error {
	tested := 0
	for _, image := range graph.Images {
		if image.Platform.Architecture != runtime.GOARCH {
			j.app.warn("--smoke skips %s: this machine does not run it", llb.FormatPlatform(image.Platform))
			continue
		}
		if err := j.smokeOne(ctx, b, image, session); err != nil {
			return fmt.Errorf("test image of %s: %w", llb.FormatPlatform(image.Platform), err)
		}
		tested++
	}
	if tested == 0 {
		return errors.New("test image: no platform of it runs here: leave --smoke out")
	}
	j.app.say("smoke test passed")
	return nil
}

func (j *job) smokeOne(ctx context.Context, b *builder, image llb.Image, session llb.Session) error {
	parts := []llb.Stage{image.Base}
	for _, l := range image.Layers {
		parts = append(parts, l.Stage)
	}
	env := map[string]string{"HOME": "/root", "WORKDIR": image.Config.WorkingDir}
	if j.recipe.Image.User != "root" {
		env["HOME"] = "/home/" + j.recipe.Image.User
	}
	for _, v := range image.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	args := append([]string{"/bin/sh", "-euc", smokeScript, "smoke", j.recipe.Ray.Version}, smokeModules(j.recipe.Ray.Extras)...)
	ran := llb.Merge("[smoke] image", parts...).Run(llb.Exec{
		Title: "[smoke] test the image", Args: args, Env: env,
		Dir: image.Config.WorkingDir, User: image.Config.User, Fresh: true,
	})
	const answer = "/tmp/raybuild-smoke"
	got, err := b.ReadFiles(ctx, ran, image.Platform, []string{answer}, session)
	if err != nil {
		return err
	}
	user, _, _ := strings.Cut(image.Config.User, ":")
	if user == "" {
		user = "0"
	}
	if id := strings.TrimSpace(string(got[answer])); id != user {
		return fmt.Errorf("its processes run as user %q, not %q", id, user)
	}
	return nil
}
