package llb_test

import (
	"os"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

type badStage struct {
	name string
	st   llb.Stage
	want string
}

func badStages() []badStage {
	from := llb.From(pinned)
	good := sh("ray", "install", "true")
	with := func(change func(*llb.Exec)) llb.Exec {
		e := sh("ray", "install", "true")
		change(&e)
		return e
	}
	const at = `layer ray: step "install": `
	return []badStage{
		{"image without a digest", llb.From("ubuntu:22.04"), `image "ubuntu:22.04" is not pinned: add its digest`},
		{"image that is no reference", llb.From("Ubuntu!"), `parse image reference "Ubuntu!"`},
		{"artifact with a path for a name", llb.Artifact(llb.Blob{Name: "a/b", Digest: "sha256:" + sha("1")}),
			`artifact name "a/b"`},
		{"artifact without a digest", llb.Artifact(llb.Blob{Name: "a"}), `artifact "a": digest ""`},
		{"artifact with another digest", llb.Artifact(llb.Blob{Name: "a", Digest: "sha512:" + sha("1") + sha("1")}),
			`want sha256`},
		{"step in an empty stage", llb.Scratch().Run(good), at + "an empty stage"},
		{"step without a command", from.Run(with(func(e *llb.Exec) { e.Args = nil })), at + "args: want a command"},
		{"step without a title", from.Run(with(func(e *llb.Exec) { e.Title = " " })), "want one line of text"},
		{"relative directory", from.Run(with(func(e *llb.Exec) { e.Dir = "x" })), at + `working directory "x"`},
		{"bad variable", from.Run(with(func(e *llb.Exec) { e.Env = map[string]string{"A=B": ""} })),
			at + `environment variable "A=B"`},
		{"relative mount", from.Run(with(func(e *llb.Exec) { e.Mounts = []llb.Mount{{Path: "x"}} })), at + `mount "x"`},
		{
			"mount from above the stage", from.Run(with(func(e *llb.Exec) {
				e.Mounts = []llb.Mount{{Path: "/x", Stage: from, From: "/a/../b"}}
			})), at + `mounted path "/a/../b"`,
		},
		{
			"part of an empty stage", from.Run(with(func(e *llb.Exec) {
				e.Mounts = []llb.Mount{{Path: "/x", From: "/a"}}
			})), "the stage is empty",
		},
		{"two mounts at one path", from.Run(with(func(e *llb.Exec) { e.Tmpfs = []string{"/x", "/x"} })),
			at + `tmpfs "/x" is mounted twice`},
		{"secret that goes nowhere", from.Run(with(func(e *llb.Exec) { e.Secrets = []llb.Secret{{ID: "s"}} })),
			at + `secret "s": want a path`},
		{"socket without an id", from.Run(with(func(e *llb.Exec) { e.Sockets = []llb.Socket{{Path: "/s"}} })),
			at + `socket "/s": want an id`},
		{"cache without an id", from.Run(with(func(e *llb.Exec) { e.Caches = []llb.Cache{{Path: "/s"}} })),
			at + `cache "/s": want an id`},
		{
			"output on a mount", from.Make(with(func(e *llb.Exec) {
				e.Tmpfs = nil
				e.Mounts = []llb.Mount{{Path: "/o", Stage: from}}
			}), llb.Output{Path: "/o"}), "mounted twice",
		},
		{"output in an empty stage", from.Make(good, llb.Output{Path: "/o", From: "/p"}), "make the directory first"},
		{"relative output", from.Make(good, llb.Output{Path: "o"}), at + `output path "o"`},
		{"file with a relative path", from.Files("[f] write", llb.File{Path: "x"}), `layer f: step "write": path "x"`},
		{"file twice", from.Files("[f] write", llb.File{Path: "/x"}, llb.File{Path: "/x/", Dir: true}), "given twice"},
		{"file under a file", from.Files("[f] write", llb.File{Path: "/x"}, llb.File{Path: "/x/y"}),
			"is not a directory"},
		{"file of two kinds", from.Files("[f] write", llb.File{Path: "/x", Dir: true, Link: "y"}), "want one of"},
		{"file over merged /usr", from.Files("[f] write", llb.File{Path: "/lib/x"}), "write /usr/lib/x"},
		{"device mode", from.Files("[f] write", llb.File{Path: "/x", Mode: os.ModeDevice | 0o600}),
			"want permissions only"},
		{"too much text", from.Files("[f] write", llb.File{Path: "/x", Data: make([]byte, 4<<20+1)}),
			"use an artifact"},
		{"copy from nothing", from.Copy("[c] copy", llb.Scratch(), "/a", "/b"), "is empty"},
		{"archive outside of its stage", from.Unpack("[u] unpack", from, "../x", "/"), "archive name"},
		{"merge without a title", llb.Merge("", from, from), "title is required"},
		{"diff of nothing", llb.Diff("d", from, llb.Scratch()), "the upper stage is empty"},
		{"first of two", llb.From("one:1").Run(with(func(e *llb.Exec) { e.Args = nil })), `"one:1" is not pinned`},
		{
			"in a mount", from.Run(with(func(e *llb.Exec) {
				e.Mounts = []llb.Mount{{Path: "/x", Stage: llb.From("one:1")}}
			})), `"one:1" is not pinned`,
		},
		{"in a merge", llb.Merge("m", from, llb.From("one:1")), `"one:1" is not pinned`},
		{"in a diff", llb.Diff("d", from, llb.From("one:1")), `"one:1" is not pinned`},
		{"in a copy", from.Copy("c", llb.From("one:1"), "/a", "/b"), `"one:1" is not pinned`},
	}
}

func TestErrorsStickAndNameTheirStep(t *testing.T) {
	t.Parallel()
	for _, tc := range badStages() {
		t.Run(tc.name, func(t *testing.T) {
			later := tc.st.Run(sh("later", "run", "true")).Files("[later] write", llb.File{Path: "/x"})
			for _, st := range []llb.Stage{tc.st, later} {
				_, err := llb.Image{Platform: amd64, Layers: []llb.Layer{{Name: "l", Stage: st}}}.Marshal(t.Context(),
					false)
				if err == nil || !strings.Contains(err.Error(), tc.want) || st.Err() == nil {
					t.Errorf("error %v, want %q", err, tc.want)
				}
			}
		})
	}
}

func sha(c string) digest.Digest { return digest.Digest(strings.Repeat(c, 64)) }

func TestImagesAreChecked(t *testing.T) {
	t.Parallel()
	st := llb.Scratch().Files("[a] write", llb.File{Path: "/a"})
	for _, tc := range []struct {
		name string
		img  llb.Image
		want string
	}{
		{"no platform", llb.Image{Layers: []llb.Layer{{Stage: st}}}, "platform is required"},
		{"nothing in it", llb.Image{Platform: amd64}, "it is empty"},
		{"history that does not fit the base", llb.Image{Platform: amd64, Base: st, BaseLayers: []string{"a", "b"}},
			"base has 1 layers, but 2 history texts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := tc.img.Marshal(t.Context(), false); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParsePlatform(f *testing.F) {
	for _, s := range []string{"linux/amd64", "linux/arm64/v8", "linux/x86_64", "linux/arm/v7",
		"windows(10.0.17763)/amd64", "linux", "/", "linux/*", "", "a/b/c/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := llb.ParsePlatform(s)
		if err != nil {
			if !strings.Contains(err.Error(), "os/arch") {
				t.Errorf("error %q does not say what is wanted", err)
			}
			return
		}
		again, err := llb.ParsePlatform(llb.FormatPlatform(p))
		if err != nil || llb.FormatPlatform(again) != llb.FormatPlatform(p) {
			t.Errorf("%q is %q, which is %q, %v", s, llb.FormatPlatform(p), llb.FormatPlatform(again), err)
		}
	})
}

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/arm64/v8": "linux/arm64",
		"linux/aarch64": "linux/arm64",
		"linux/arm/v7":  "linux/arm/v7", "Linux/AMD64": "linux/amd64",
		"linux": "", "amd64": "", "": "", "linux/": "", "/amd64": "", "linux/*": "", "a/b/c/d": "",
	} {
		t.Run(in, func(t *testing.T) {
			p, err := llb.ParsePlatform(in)
			if got := llb.FormatPlatform(p); (err == nil) != (want != "") || err == nil && got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}
