package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/world"
)

// image is an image of real Ray and real wheels. A nil one is the image of the offline world.
type image struct {
	name string
	// packages are what pip is asked for beside Ray, and torch the version of it; none where empty.
	packages []string
	torch    string
	// without are rows that are measured only if they are asked for.
	without []string
	// runs and budget are the options of these names where nobody says otherwise.
	runs   int
	budget time.Duration
	// room is the disk space that it takes, in bytes: a builder's state after its largest row, the
	// wheels, the registry, and the 10 GB that an engine leaves free by giving up what it has
	// built.
	room uint64
	// scarce is whether the disk is for one peer at a time: each is measured in all rows before the
	// next one begins, and what a row leaves behind is removed.
	scarce bool
}

// rayReal is the start of the requirement for Ray; the version follows.
const rayReal = "ray[default,tune,rllib]=="

// images are the images of real wheels.
func images() []image {
	return []image{
		{name: "A", packages: []string{"requests"}, runs: 3, budget: time.Minute, room: 30e9},
		{
			name: "B", packages: []string{"requests", "msgpack-numpy"}, torch: "2.14.1",
			runs: 2, budget: 2 * time.Minute, room: 55e9, scarce: true,
			without: []string{"apt-list", "base-patched", "fetch-mirror", "miniconda", "python-patch"},
		},
	}
}

func (i *image) title() string {
	if i == nil {
		return ""
	}
	return i.name
}

// asks is what the image's requirements say.
func (i *image) asks() string {
	asks := append([]string{rayReal + world.RayReal}, i.packages...)
	if i.torch != "" {
		asks = append(asks, "torch=="+i.torch)
	}
	return strings.Join(asks, ", ")
}

// rows are the matrix of the image, in its order.
func (i *image) rows() []row {
	if i == nil {
		return rows()
	}
	var out []row
	for _, r := range rows() {
		switch r.name {
		case "cold":
			out = append(out, row{name: "first", kind: kindFirst})
		case "ray-bumped": // the image has the newest: what it is changed for is older
			r.edit = simple(func(w *wanted, n int) {
				w.ray = pick(n, "2.59.0", "2.58.1", "2.58.0", "2.57.1", "2.57.0")
			})
		case "small-added":
			r.edit = simple(func(w *wanted, n int) {
				w.pip = []string{pick(n, "tabulate", "termcolor", "sortedcontainers", "toolz", "shortuuid")}
			})
		case "big-bumped":
			out = append(out, row{"medium-bumped", kindEdit, simple(func(w *wanted, n int) {
				w.pandas = pick(n, "3.1.0", "3.0.6", "3.0.5", "3.0.4", "3.0.3")
			})})
			if i.torch == "" {
				continue
			}
			r.edit = simple(func(w *wanted, n int) {
				w.torch = pick(n, "2.15.0", "2.14.0", "2.13.0", "2.12.1", "2.12.0")
			})
		}
		out = append(out, r)
	}
	return out
}

// becomeReal makes the image before any edit one of real wheels.
func (b *bench) becomeReal() error {
	if b.World.NotReal != nil {
		return fmt.Errorf("measure an image of real wheels: %w", b.World.NotReal)
	}
	b.start.mirror.Pip = b.start.mirror.Real
	b.start.ray, b.start.extras = world.RayReal, []string{"default", "tune", "rllib"}
	b.start.packages, b.start.torch = b.image.packages, b.image.torch
	return nil
}

// wants tells whether a row is measured by those whose turn it is.
func (b *bench) wants(r row) bool {
	switch {
	case r.kind == kindLock && b.now[0].name != "raybuild":
		return false
	case r.name == "cold": // what edits are made on
		return true
	case b.rows == "" && b.image != nil:
		return !slices.Contains(b.image.without, r.name)
	}
	return selected(b.rows, r.name)
}

// groups are the peers that take turns.
func (b *bench) groups() [][]*state {
	if b.image == nil || !b.image.scarce {
		return [][]*state{b.states}
	}
	var out [][]*state
	for s := range slices.Chunk(b.states, 1) {
		out = append(out, s)
	}
	return out
}

// listOf names the list of a real image's Dockerfiles that a wheel is in: torch and what comes with it alone, Ray, what
// was added, and all others.
func listOf(v *variation) func(wheel string) string {
	return func(wheel string) string {
		switch {
		case wheel == "ray":
			return "ray"
		case slices.Contains(v.pip, wheel):
			return "added"
		case v.torch != "" && isTorch(wheel):
			return "torch"
		}
		return "requirements"
	}
}

// isTorch tells whether a wheel is torch or one of the CUDA libraries and compilers that it requires: nothing else
// does.
func isTorch(wheel string) bool {
	return wheel == "torch" || wheel == "triton" ||
		strings.HasPrefix(wheel, "nvidia-") || strings.HasPrefix(wheel, "cuda-")
}
