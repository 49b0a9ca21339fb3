package llb_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/raybuild/raybuild/llb"
)

const (
	pinned  = "docker.io/library/ubuntu:22.04@sha256:0000000000000000000000000000000000000000000000000000000000000001"
	pinned2 = "docker.io/library/ubuntu:22.04@sha256:0000000000000000000000000000000000000000000000000000000000000002"
)

// paper is a world without a registry, enough to write graphs.
func paper() *world {
	return &world{base: pinned, blobs: map[digest.Digest][]byte{}, opens: map[digest.Digest]int{}}
}

func marshal(t *testing.T, img llb.Image) *llb.Definition {
	t.Helper()
	d, err := img.Marshal(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func ops(t *testing.T, d *llb.Definition) map[string]*pb.Op {
	t.Helper()
	out := map[string]*pb.Op{}
	for _, dt := range d.Def.Def {
		var op pb.Op
		if err := proto.Unmarshal(dt, &op); err != nil {
			t.Fatal(err)
		}
		if op.Op == nil { // the last one only points at the result
			continue
		}
		name := d.Def.Metadata[digest.FromBytes(dt)].Description["llb.customname"]
		if name == "" || out[name] != nil {
			t.Errorf("operation %v: name %q is missing or not its own", &op, name)
		}
		out[name] = &op
	}
	return out
}

const printDigest = "RAYBUILD_TEST_PRINT_DIGEST"

func TestMarshalIsTheSameInEveryProcess(t *testing.T) {
	t.Parallel()
	img := rayImage(t, paper(), pinned2, "2.52.0")
	d := marshal(t, img)
	dt, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintln(d.Digest(), digest.FromBytes(dt), digest.FromBytes(d.Config))
	if os.Getenv(printDigest) != "" {
		fmt.Print("\ndigests: ", own)
		return
	}
	for i := range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMarshalIsTheSameInEveryProcess$")
		cmd.Env = append(os.Environ(), printDigest+"=1", "TZ=Asia/Shanghai", fmt.Sprintf("HOSTNAME=host%d", i))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(string(out), "digests: "); !strings.HasPrefix(got, own) {
			t.Errorf("process %d: %s, want %s", i, got, own)
		}
	}
}

func TestEveryOperationIsNamedAndBoundToThePlatform(t *testing.T) {
	t.Parallel()
	arm := llb.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	img := rayImage(t, paper(), pinned2, "2.52.0")
	img.Platform = arm
	for name, op := range ops(t, marshal(t, img)) {
		if len(op.Constraints.GetFilter()) > 0 {
			t.Errorf("%s: bound to a worker: %v", name, op.Constraints)
		}
		if p := op.Platform; p != nil && (p.Architecture != "arm" || p.Variant != "v7" || p.OSVersion != "") {
			t.Errorf("%s: platform %v", name, p)
		}
		if (op.GetExec() != nil || strings.HasPrefix(op.GetSource().GetIdentifier(), "docker-image://")) &&
			op.Platform == nil {
			t.Errorf("%s: no platform", name)
		}
		if e := op.GetExec(); e != nil && e.Network != pb.NetMode_NONE {
			t.Errorf("%s: network %v", name, e.Network)
		}
	}
}

func TestExecIsWrittenInFixedOrder(t *testing.T) {
	t.Parallel()
	e := llb.Exec{
		Title: "[x] run", Args: []string{"a", "b c"}, Env: map[string]string{"C": "3", "A": "1", "B": "2"}, Dir: "/w",
		User: "1000:100", Network: llb.Online,
		Mounts: []llb.Mount{{Path: "/z", Stage: llb.From(pinned2), From: "/etc"},
			{Path: "/b", Stage: llb.From(pinned2), Write: true}},
		Secrets: []llb.Secret{{ID: "s", Path: "/run/s"}, {ID: "v", Env: "V", Optional: true}},
		Sockets: []llb.Socket{{ID: "gw", Path: "/run/gw"}},
		Tmpfs:   []string{"/tmp"}, Caches: []llb.Cache{{ID: "c", Path: "/cache"}},
	}
	img := llb.Image{Platform: amd64, Layers: []llb.Layer{{Name: "x", Stage: llb.From(pinned).Run(e)}}}
	op := ops(t, marshal(t, img))["[x] run"].GetExec()
	if got := op.Meta.Env; !slices.Equal(got, []string{"A=1", "B=2", "C=3", "SSH_AUTH_SOCK=/run/gw"}) {
		t.Errorf("env %q", got)
	}
	if op.Meta.Cwd != "/w" || op.Meta.User != "1000:100" || op.Network != pb.NetMode_UNSET ||
		!slices.Equal(op.Meta.Args, e.Args) {
		t.Errorf("meta %v, network %v", op.Meta, op.Network)
	}
	var got []string
	for _, m := range op.Mounts {
		got = append(got, fmt.Sprintf("%s %s out=%d ro=%v sel=%s", m.Dest, m.MountType, m.Output,
			m.Readonly, m.Selector))
	}
	want := []string{
		"/ BIND out=0 ro=false sel=", "/b BIND out=-1 ro=false sel=", "/cache CACHE out=-1 ro=false sel=",
		"/tmp TMPFS out=-1 ro=false sel=", "/z BIND out=-1 ro=true sel=/etc", "/run/s SECRET out=0 ro=false sel=",
		"/run/gw SSH out=0 ro=false sel=",
	}
	if !slices.Equal(got, want) {
		t.Errorf("mounts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if op.Secretenv[0].Name != "V" || !op.Secretenv[0].Optional {
		t.Errorf("secret variables %v", op.Secretenv)
	}
}

func TestChangingALayerLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	a := marshal(t, rayImage(t, paper(), pinned2, "2.52.0")).Def.Def
	b := marshal(t, rayImage(t, paper(), pinned2, "2.53.0")).Def.Def
	kept := 0
	for _, dt := range a {
		if slices.ContainsFunc(b, func(o []byte) bool { return string(o) == string(dt) }) {
			kept++
		}
	}
	// The wheel, its step, its diff, the merge, and the pointer at the result differ.
	if kept != len(a)-5 || len(a) != len(b) {
		t.Errorf("%d of %d operations kept", kept, len(a))
	}
}

func TestStagesAreValues(t *testing.T) {
	t.Parallel()
	img := func(s llb.Stage) llb.Image {
		return llb.Image{Platform: amd64, Layers: []llb.Layer{{Name: "x", Stage: s}}}
	}
	base := llb.From(pinned).Run(sh("x", "one", "true"))
	before := marshal(t, img(base)).Digest()
	e := sh("x", "two", "true")
	e.Env = map[string]string{"A": "1"}
	e.Mounts = []llb.Mount{{Path: "/a", Stage: llb.From(pinned)}}
	data := []byte("text")
	two := base.Run(e).Files("[x] write", llb.File{Path: "/f", Data: data})
	first := marshal(t, img(two)).Digest()
	e.Args[0], e.Env["A"], e.Mounts[0].Path, data[0] = "other", "2", "/b", 'T'
	three := base.Run(e)
	if marshal(t, img(base)).Digest() != before || marshal(t, img(two)).Digest() != first {
		t.Error("a stage changed after it was made")
	}
	if marshal(t, img(three)).Digest() == first {
		t.Error("another step gave the same graph")
	}
}

func TestConfigIsWrittenWhole(t *testing.T) {
	t.Parallel()
	img := rayImage(t, paper(), pinned2, "2.52.0")
	img.Created = time.Date(2026, 1, 2, 3, 4, 5, 678, time.FixedZone("x", 3600))
	var got ocispecs.Image
	if err := json.Unmarshal(marshal(t, img).Config, &got); err != nil {
		t.Fatal(err)
	}
	if got.OS != "linux" || got.Architecture != "amd64" || got.RootFS.Type != "layers" || got.Config.User != "1000" ||
		len(got.History) != 7 {
		t.Errorf("config %+v", got)
	}
	for i, h := range got.History {
		if h.Created == nil || !h.Created.Equal(time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)) || h.CreatedBy == "" ||
			h.EmptyLayer {
			t.Errorf("history %d: %+v", i, h)
		}
	}
	img.Created = time.Time{}
	if err := json.Unmarshal(marshal(t, img).Config, &got); err != nil || !got.Created.Equal(llb.Epoch()) {
		t.Errorf("created %v, %v", got.Created, err)
	}
}

func TestDigestCoversOperationsAndConfig(t *testing.T) {
	t.Parallel()
	seen := map[digest.Digest]string{}
	add := func(what string, change func(*llb.Image)) {
		img := rayImage(t, paper(), pinned2, "2.52.0")
		change(&img)
		d := marshal(t, img).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", what, other)
		}
		seen[d] = what
	}
	add("the image", func(*llb.Image) {})
	add("another label", func(i *llb.Image) { i.Config.Labels = map[string]string{"a": "2"} })
	add("another time", func(i *llb.Image) { i.Created = i.Created.Add(time.Second) })
	add("another platform", func(i *llb.Image) { i.Platform.Architecture = "arm64" })
	add("another base", func(i *llb.Image) { i.Base = llb.From(pinned) })
	add("a layer less", func(i *llb.Image) { i.Layers = i.Layers[1:] })
	add("other history", func(i *llb.Image) { i.Layers[0].Title = "x" })
}

func TestBridgeToBuildKit(t *testing.T) {
	t.Parallel()
	st := llb.FromState(bkllb.Image(pinned).Run(bkllb.Shlex("true"), bkllb.Network(pb.NetMode_NONE)).Root())
	img := llb.Image{
		Platform: amd64, Layers: []llb.Layer{{Name: "x", Stage: st.Files("[x] write", llb.File{Path: "/f"})}},
	}
	d := marshal(t, img)
	for _, dt := range d.Def.Def[:len(d.Def.Def)-1] {
		if d.Def.Metadata[digest.FromBytes(dt)].Description["llb.customname"] == "" {
			t.Error("an operation has no name")
		}
	}
	if st.State().Output() == nil || llb.Scratch().State().Output() != nil ||
		llb.FromState(bkllb.Scratch()).Err() != nil {
		t.Error("states do not survive the bridge")
	}
}
