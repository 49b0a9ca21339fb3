package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/raybuild/raybuild/bench/bed"
)

// installer is a program that installs the wheels of a real image's Dockerfile.
type installer struct {
	name string
	// stage is what the Dockerfile has before its own stages.
	stage string
	// step is the step that installs the list %[1]s with the options %[2]s.
	step string
	// unlocked is a step before those, where nothing is locked.
	unlocked string
}

// uvInstaller is uv, whose program is in an image.
func uvInstaller(image string) *installer {
	return &installer{name: "uv", stage: "FROM " + image + " AS uv\n\n",
		step: `RUN --mount=type=bind,from=uv,source=/uv,target=/bin/uv \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=%[1]s.txt,target=/tmp/%[1]s.txt \
    HOME=/root uv pip install -q --python /opt/conda/envs/ray/bin/python --default-index ${PIP_INDEX_URL} \
        --link-mode=copy --compile-bytecode %[2]s-r /tmp/%[1]s.txt
`}
}

// pipInstaller is the environment's pip. With nothing locked the newest is taken first, as people do: it resolves in
// half the time.
func pipInstaller() *installer {
	return &installer{name: "pip", step: dockerfilePip,
		unlocked: `RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    HOME=/root pip install -q --disable-pip-version-check --root-user-action=ignore --upgrade pip
`}
}

// dockerfile is a real image as an expert writes it: as that of the offline world, but that torch has a step of its own
// with what it alone requires, and that a package which is added is a further line at the end. channel is where an
// image of which nothing is locked has its conda packages from.
func (i *installer) dockerfile(v *variation, mirrors bool, channel string) string {
	lists, options, conda := []string{"requirements", "ray"}, pinned, ""
	if v.unlocked {
		lists, options, conda = lists[:1], "", "--override-channels -c "+channel+" "
	}
	if v.torch != "" {
		lists = append([]string{"torch"}, lists...)
	}
	if len(v.pip) > 0 {
		lists = append(lists, "added")
	}
	var b strings.Builder
	b.WriteString("ARG BASE\n\n" + i.stage + dockerfileHead(true, conda))
	if v.unlocked {
		b.WriteString(i.unlocked)
	}
	for _, list := range lists {
		fmt.Fprintf(&b, i.step, list, options)
	}
	return b.String() + dockerfileTail(v, mirrors, true)
}

// write writes the Dockerfile and its context.
func (i *installer) write(c bed.Context, v *variation) error {
	channel := c.Mirror.Conda + "/cloud/conda-forge"
	err := writeContext(c, v, func(mirrors bool) string { return i.dockerfile(v, mirrors, channel) })
	if err != nil || !v.unlocked {
		return err
	}
	var errs []error
	for name, lines := range v.ranges() {
		errs = append(errs, os.WriteFile(filepath.Join(c.Dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
	return errors.Join(errs...)
}

// ranges are the lists of somebody who has no lock.
func (v *variation) ranges() map[string][]string {
	out := map[string][]string{
		"apt.txt":          append([]string{"less", "wget"}, v.apt...),
		"explicit.txt":     {"python=" + v.python, "pip"},
		"requirements.txt": append([]string{rayReal + v.ray}, v.packages...),
	}
	if v.torch != "" {
		out["torch.txt"] = []string{"torch==" + v.torch}
	}
	return out
}
