package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/world"
)

// wanted is an image as somebody wants it; every peer makes it in its own way.
type wanted struct {
	base      string
	mirror    world.Mirror // to fetch from
	image     string       // preset of mirrors that the image is configured with
	apt, pip  []string
	miniconda world.Installer
	python    string
	ray       string
	extras    []string // Ray's
	packages  []string // what pip is always asked for
	torch     string   // versions; none where empty
	pandas    string
	labels    map[string]string
	app       string // content of the own file
}

// recipe is the image as a raybuild.yaml.
func (w wanted) recipe() string {
	mirrors := "fetch: [" + w.mirror.Fetch() + "]"
	if w.image != "" {
		mirrors += ", image: " + w.image
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(w.labels)) {
		labels = append(labels, fmt.Sprintf("%s: %q", k, w.labels[k]))
	}
	pip := slices.Clone(w.packages)
	for _, p := range [][2]string{{"torch", w.torch}, {"pandas", w.pandas}} {
		if p[1] != "" {
			pip = append(pip, p[0]+"=="+p[1])
		}
	}
	pip = append(pip, w.pip...)
	return fmt.Sprintf(`base: %s
mirrors: {%s}
apt: [%s]
miniconda: {version: %s, sha256: %s}
env: {name: ray, python: "%s", channels: [conda-forge]}
ray: {version: %q, extras: [%s]}
pip: ["%s"]
files: [{from: app, to: /home/ray/app}]
image: {labels: {%s}}
`, w.base, mirrors, strings.Join(append([]string{"less", "wget"}, w.apt...), ", "),
		w.miniconda.Version, w.miniconda.SHA256,
		w.python, w.ray, strings.Join(w.extras, ", "), strings.Join(pip, `", "`), strings.Join(labels, ", "))
}

// row is a line of the matrix.
type row struct {
	name, kind string
	// edit is the image with the n-th change of this kind, from 1: no two of them are alike, so
	// that no builder has seen it. What is never resolved has no edit.
	edit func(ctx context.Context, b *bench, w wanted, n int) (wanted, error)
}

const (
	kindFirst = "first" // nothing is locked
	kindCold  = "cold"
	kindSame  = "same"
	kindEdit  = "edit"
	kindLock  = "lock"
)

// simple is an edit that cannot fail.
func simple(change func(w *wanted, n int)) func(context.Context, *bench, wanted, int) (wanted, error) {
	return func(_ context.Context, _ *bench, w wanted, n int) (wanted, error) {
		change(&w, n)
		return w, nil
	}
}

// pick is the n-th of some values, from 1.
func pick(n int, of ...string) string { return of[(n-1)%len(of)] }

// rows are the matrix of the offline image, in its order.
func rows() []row {
	return []row{
		{name: "cold", kind: kindCold},
		{name: "same-warm", kind: kindSame},
		{name: "same-empty-runner", kind: kindSame},
		{"apt-list", kindEdit, simple(func(w *wanted, n int) {
			w.apt = []string{pick(n, "bc", "tree", "time", "dc", "ed")}
		})},
		{"base-patched", kindEdit, func(ctx context.Context, b *bench, w wanted, n int) (wanted, error) {
			var err error
			w.base, err = b.patchedBase(ctx, n)
			return w, err
		}},
		{"fetch-mirror", kindEdit, func(ctx context.Context, b *bench, w wanted, _ int) (wanted, error) {
			var err error
			w.mirror, err = b.otherMirror(ctx)
			return w, err
		}},
		{"image-mirrors", kindEdit, simple(func(w *wanted, n int) {
			w.image = pick(n, "tuna", "aliyun", "ustc", "bfsu", "tencent")
		})},
		{"miniconda", kindEdit, func(_ context.Context, b *bench, w wanted, n int) (wanted, error) {
			for _, i := range b.World.Installers {
				if i.Version == world.MinicondaVariant(n) {
					w.miniconda = i
					return w, nil
				}
			}
			return w, errors.New("find the installer: the world has none of version " + world.MinicondaVariant(n))
		}},
		{"python-patch", kindEdit, simple(func(w *wanted, n int) { w.python = world.PythonVariant(n) })},
		{"ray-bumped", kindEdit, simple(func(w *wanted, n int) { w.ray = world.RayVariant(n) })},
		{"small-added", kindEdit, simple(func(w *wanted, n int) {
			w.pip = []string{pick(n, "h11", "httptools", "python-dotenv", "uvloop", "websockets")}
		})},
		{"big-bumped", kindEdit, simple(func(w *wanted, n int) { w.torch = world.TorchVariant(n) })},
		{"own-file", kindEdit, simple(func(w *wanted, n int) { w.app = fmt.Sprintf("print(%d)\n", n) })},
		{"label", kindEdit, simple(func(w *wanted, n int) {
			w.labels = map[string]string{"team": fmt.Sprintf("team-%d", n)}
		})},
		{name: "lock", kind: kindLock},
	}
}

// variants is how many different edits of a kind there are; more runs than that cannot be.
const variants = 5
