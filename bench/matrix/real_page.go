package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// page is the report as docs/benchmarks.md.
func (all *realReport) page() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Benchmarks")
	line("")
	line("Written by `make bench BENCH_SCALE=real`; do not edit. Images of real Ray and real wheels of PyPI, built " +
		"and pushed after one edit")
	line("after the other: raybuild beside BuildKit's own client on an engine of the same version, with an expert's " +
		"Dockerfile that installs")
	line("by uv (`dockerfile`), and one that installs by pip (`pip`).")
	line("")
	for _, i := range images() {
		line("* Image %s: `%s`%s", i.name, i.asks(), all.sizeOf(i.name))
	}
	line("")
	line("[benchmarks-offline.md](benchmarks-offline.md) has stand-ins for wheels, of near the real ones' sizes: " +
		"anybody can repeat it without a")
	line("network. [benchmarks-small.md](benchmarks-small.md) has all peers, Docker Engine and `docker commit` as " +
		"well, at a tenth of the sizes.")
	line("")
	method(line)
	for _, i := range images() {
		i.page(all.Images[i.name], line)
	}
	return b.String()
}

// sizeOf says how large an image's wheels are.
func (all *realReport) sizeOf(name string) string {
	r := all.Images[name]
	if r == nil || r.Machine.Wheels == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d wheels, %s)", r.Machine.Wheels, megabytes(r.Machine.WheelBytes))
}

// method says how images of real wheels are measured.
func method(line func(string, ...any)) {
	for text := range strings.Lines(strings.ReplaceAll(methodText[1:], "§", "`")) {
		line("%s", strings.TrimSuffix(text, "\n"))
	}
	line("raybuild packs layers by gzip at level %d; the Dockerfiles have BuildKit's default, 6, as nobody says "+
		"otherwise in practice.", llb.GzipLevel)
	line("")
	line("Seconds are medians, with the fastest, the slowest and the number of runs: a peer that has taken a minute " +
		"in a row (two in image B)")
	line("is not measured there again. Bytes are medians. Steps are run and file operations of raybuild, and " +
		"instructions of a Dockerfile.")
	line("Pulled is what a node that has the old image fetches: layers that are new to it, and the config. "+
		"This holds for containerd's image store (Docker 29, Kubernetes). A Docker Engine with a graph driver fetches "+
		"all layers above the first new one, too. %s", floors)
	line("")
}

const methodText = `
The Dockerfiles (§bench/matrix/real_file.go§) are ordered by churn: apt, Miniconda, environment, torch with its
CUDA libraries, all other packages, Ray, and a last line for what was added; downloads are in cache mounts, uv
is bind-mounted from an image of its own and has §--link-mode=copy --compile-bytecode§, and files are copied
with §COPY --link§. All have the same versions: the lists of the Dockerfiles come from raybuild's lock, with
digests, and are installed without resolving. In §first§ nothing is locked: raybuild resolves and writes a lock,
and the Dockerfiles resolve what a person asks for as they install it (pip is brought up to date before). §lock§
is raybuild's resolving alone; untimed in all other rows. §cold§ is a build from nothing with the lock there.
raybuild tests the image before it gets its name, in its time: the image imports Ray, its extras and the
packages that the recipe names. The Dockerfiles test nothing.

All that PyPI has comes through one cache on loopback, which is warm: the network is not what is compared.
§first§ and §cold§ have an empty builder and an empty repository. Engines run before the clock does, but
raybuild's own, whose start is in its time. Each run of an edit is a change that no builder has seen, on one
that has built the image before, pushed under a new tag of the repository that has the old image.
§same-empty-runner§ is a builder that has nothing, with a cache in the registry for the Dockerfiles.
§ray-bumped§ and §medium-bumped§ (pandas) go from the newest version to one before it; §small-added§ adds
tabulate (40 kB) or one like it; §big-bumped§ takes torch from 2.14.1 to 2.15.0. Image A's peers take turns;
image B's are measured one after the other, for want of disk.

`

// page is the part of the page that is about one image.
func (i *image) page(r *report, line func(string, ...any)) {
	line("## Image %s", i.name)
	line("")
	if r == nil {
		line("Not measured yet.")
		line("")
		return
	}
	r.Machine.page(line)
	line("* **Stand-ins**: %s.", r.Machine.StandIns)
	if level := r.Machine.GzipLevel; level != 0 {
		line("* **Here the Dockerfiles' layers are packed at level %d.**", level)
	}
	line("")
	if absent := i.absent(r); len(r.Rows) > 0 && len(absent) > 0 {
		line("%s", strings.TrimSpace("Not measured: `"+strings.Join(absent, "`, `")+"`. "+i.why(absent)))
		line("")
	}
	r.pageTables("###", line)
	line("### Bars of image %s", i.name)
	line("")
	r.pageBars(line)
	if n, seconds, bytes := means(r.Rows, "pip"); n > 0 {
		line("* beside the Dockerfile with pip, %d edits: %.3f × its seconds and %.3f × its bytes pulled, "+
			"geometric means", n, seconds, bytes)
	}
	line("")
}

// absent are rows that were not measured.
func (i *image) absent(r *report) []string {
	var out []string
	for _, row := range i.rows() {
		if !slices.ContainsFunc(r.Rows, func(have *result) bool { return have.Name == row.name }) {
			out = append(out, row.name)
		}
	}
	return out
}

// why says why rows are absent, where that is how the image is measured.
func (i *image) why(absent []string) string {
	if !slices.ContainsFunc(absent, func(name string) bool { return slices.Contains(i.without, name) }) {
		return ""
	}
	return "In those of them that image A has, the Dockerfiles install all wheels again, as in `cold`, and " +
		"each build takes minutes and 10 GB of disk; raybuild does so in `python-patch` alone. `-rows` measures them."
}
