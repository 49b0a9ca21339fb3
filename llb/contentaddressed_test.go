package llb_test

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/raybuild/raybuild/llb"
)

// A builder need not hash artifacts and files, which their operations name; what a step has made it
// must, for that is how a step on top of it finds out that nothing changed. Builders that cannot be
// told so take the graph all the same.
func TestMountsAreHashedWhereOperationsDoNotSayWhatTheyHold(t *testing.T) {
	t.Parallel()
	wheel := llb.Artifact(llb.Blob{Digest: digest.FromString("wheel"), Name: "a.whl"})
	other := llb.Artifact(llb.Blob{Digest: digest.FromString("other"), Name: "b.whl"})
	list := llb.Scratch().Files("list", llb.File{Path: "/list", Data: []byte("a.whl")})
	base := llb.From("example.org/base@" + digest.FromString("base").String())
	made := base.Make(sh("env", "make", "true"), llb.Output{Path: "/out", On: llb.Scratch()})
	given := map[string]bool{"/wheel": true, "/wheels": true, "/list": true, "/copied": true, "/unpacked": true,
		"/made": false, "/mixed": false, "/on-made": false}
	e := sh("ray", "install", "true")
	e.Mounts = []llb.Mount{
		{Path: "/wheel", Stage: wheel},
		{Path: "/wheels", Stage: llb.Merge("collect", wheel, other, list), Write: true},
		{Path: "/list", Stage: list},
		{Path: "/copied", Stage: list.Copy("copy", wheel, "/a.whl", "/")},
		{Path: "/unpacked", Stage: llb.Scratch().Unpack("unpack", other, "b.whl", "/")},
		{Path: "/made", Stage: made},
		{Path: "/mixed", Stage: llb.Merge("mix", wheel, made)},
		{Path: "/on-made", Stage: made.Files("add", llb.File{Path: "/x", Data: []byte("x")})},
	}
	image := llb.Image{
		Platform: amd64,
		Layers:   []llb.Layer{{Name: "ray", Stage: base.Make(e, llb.Output{Path: "/out", On: llb.Scratch()})}},
	}
	for _, line := range []bool{false, true} {
		def, err := image.Marshal(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, dt := range def.Def.Def {
			var op pb.Op
			if err := proto.Unmarshal(dt, &op); err != nil {
				t.Fatal(err)
			}
			if def.Def.Metadata[digest.FromBytes(dt)].Caps[pb.CapExecMountContentCache] {
				t.Errorf("line %v: the graph demands of a builder that it knows the mounts' content cache", line)
			}
			for _, m := range op.GetExec().GetMounts() {
				want, ok := given[m.Dest]
				if !ok {
					continue
				}
				seen++
				if off := m.ContentCache == pb.MountContentCache_OFF; off != (want && !line) {
					t.Errorf("line %v: mount %s is keyed by its operations alone: %v, want %v", line, m.Dest, off,
						want && !line)
				}
			}
		}
		if seen != len(given) {
			t.Errorf("line %v: %d mounts in the graph, want %d", line, seen, len(given))
		}
	}
}
