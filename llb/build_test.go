package llb_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// clamp is how a step sets the times of what it made.
const clamp = `; find "$OUT" -newer /tmp/marker -exec touch -h -d @315532800 {} +`

// rayImage is an image with every kind of operation: a chain on the base, a layer made by an output mount at its real
// path, one by files, one by an archive, one by a user's step on the tool stage.
func rayImage(t testing.TB, w *world, base, version string) llb.Image {
	tool := llb.From(w.base)
	wheel := llb.Artifact(w.add("ray-"+version+".whl", "wheel "+version))
	user := llb.From(base).Run(llb.Exec{Title: "[user] add user", Args: []string{"/bin/sh", "-euc",
		`echo ray:x:1000:100::/home/ray:/bin/sh >> /etc/passwd; mkdir -p /home/ray; touch -d @315532800 /etc/passwd /etc /home /home/ray`}})

	frame := llb.Scratch().Files("[ray] make frame", llb.File{Path: "/opt/env/site", Dir: true})
	install := sh("ray", "install ray "+version,
		`touch -d @315532801 /tmp/marker; cp /in/*.whl $OUT/ray.txt; mkdir $OUT/sub; ! touch /etc/x 2>/dev/null`+clamp)
	install.Env = map[string]string{"OUT": "/opt/env/site", "B": "2", "A": "1"}
	install.Mounts = []llb.Mount{{Path: "/in", Stage: wheel}}
	install.Tmpfs = []string{"/tmp"}
	made := tool.Make(install, llb.Output{Path: "/opt/env/site", On: frame, From: "/opt/env/site"})

	files := llb.Scratch().Files("[files] write config",
		llb.File{Path: "/home/ray/.condarc", Data: []byte("channels: []\n"), UID: 1000, GID: 100, Mode: 0o600})
	arch := llb.Artifact(w.add("app.tar", string(tarOf(t, map[string]string{"app/": "", "app/main.py": "print(1)\n"}))))
	app := llb.Scratch().Unpack("[app] unpack app", arch, "app.tar", "/home/ray/src")
	step := tool.Run(sh("extras", "run extras",
		`mkdir -p /srv/x; echo hi > /srv/x/hi; touch -d @315532800 /srv/x/hi /srv/x /srv`))
	return llb.Image{
		Platform: amd64, Base: user, BaseLayers: []string{"base 1", "base 2", "[user] add user"},
		Layers: []llb.Layer{
			{Name: "ray", Title: "ray " + version, Stage: llb.Diff("[ray] layer", frame, made)},
			{Name: "files", Stage: files},
			{Name: "app", Stage: app},
			{Name: "extras", Stage: llb.Diff("[extras] layer", tool, step)},
		},
		Config: ocispecs.ImageConfig{User: "1000", Env: []string{"PATH=/usr/bin"},
			Labels: map[string]string{"b": "2", "a": "1"}},
		Created: time.Unix(1700000000, 0),
	}
}

func TestImageIsPushedLayerByLayer(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ref := w.host + "/ray:1"
	var log bytes.Buffer
	res, err := b.Build(t.Context(), []llb.Image{rayImage(t, w, w.base, "2.52.0")}, llb.Session{Artifacts: w},
		llb.BuildOptions{
			SolveOptions: llb.SolveOptions{Progress: llb.ProgressPlain, ProgressTo: &log},
			Names:        []string{ref, w.host + "/ray:latest"}, Push: true,
			Annotations: map[string]string{"org.example.k": "v"},
		})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	got := res.Images[0]
	var names []string
	for _, l := range got.Layers {
		names = append(names, l.Name)
		if l.Size == 0 || l.MediaType != ocispecs.MediaTypeImageLayerGzip {
			t.Errorf("layer %+v: want a size and gzip", l)
		}
		for p, e := range layer(t, b, l.Digest) {
			if l.Name != "" && !e.ModTime.Equal(llb.Epoch()) {
				t.Errorf("layer %s: %s has the time %v", l.Name, p, e.ModTime)
			}
			if bytes.Contains([]byte(p), []byte("/.wh.")) {
				t.Errorf("layer %s: whiteout %s", l.Name, p)
			}
		}
	}
	if want := []string{"", "", "user", "ray", "files", "app", "extras"}; !slices.Equal(names, want) {
		t.Errorf("layers %q, want %q", names, want)
	}
	for _, n := range []string{ref, w.host + "/ray:latest"} {
		checkPushed(t, n, res)
	}
	if t.Failed() {
		t.Log(log.String())
	}
	ray := layer(t, b, got.Layers[3].Digest)
	if ray["/opt/env/site/ray.txt"].data != "wheel 2.52.0" || len(ray) != 5 {
		t.Errorf("ray layer: %v", slices.Collect(maps.Keys(ray)))
	}
	if e := layer(t, b, got.Layers[4].Digest)["/home/ray/.condarc"]; e.Mode != 0o600 || e.Uid != 1000 || e.Gid != 100 {
		t.Errorf("condarc: %+v", e.Header)
	}
	if e := layer(t, b, got.Layers[5].Digest)["/home/ray/src/app/main.py"]; e.data != "print(1)\n" {
		t.Errorf("app: %+v", e)
	}
}

// checkPushed checks what a registry holds under a name.
func checkPushed(t *testing.T, ref string, res *llb.Result) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	got := res.Images[0]
	if d, _ := img.Digest(); d.String() != res.Digest.String() || got.Manifest != res.Digest {
		t.Errorf("pushed %s, result says %s and %s", d, res.Digest, got.Manifest)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Annotations["org.example.k"] != "v" || m.Config.Digest.String() != got.Config.String() {
		t.Errorf("manifest %+v", m)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range cfg.History {
		if h.EmptyLayer || h.CreatedBy == "" || h.Created.Unix() != 1700000000 {
			t.Errorf("history %d: %+v", i, h)
		}
	}
}

func TestCopyKeepsNoTimes(t *testing.T) {
	w, b := newWorld(t), connect(t)
	src := llb.From(w.base).Run(sh("src", "write",
		`mkdir -p /src/d/e; echo 1 > /src/d/f; ln -s f /src/d/l; chmod 0700 /src/d/e`))
	st := llb.Scratch().Copy("[c] copy dir", src, "/src", "/srv/dir").
		Copy("[c] copy file into dir", src, "/src/d/f", "/srv/into/").
		Copy("[c] copy file as", src, "/src/d/f", "/srv/as/name")
	res, err := b.Build(t.Context(), []llb.Image{{Platform: amd64, Layers: []llb.Layer{{Name: "c", Stage: st}}}},
		llb.Session{}, llb.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(res.Images[0].Layers); n != 3 {
		t.Fatalf("%d layers, want one for each operation", n)
	}
	all := map[string]entry{}
	for _, l := range res.Images[0].Layers {
		for p, e := range layer(t, b, l.Digest) {
			if all[p] = e; !e.ModTime.Equal(llb.Epoch()) {
				t.Errorf("%s has the time %v", p, e.ModTime)
			}
		}
	}
	if all["/srv/dir/d/f"].data != "1\n" || all["/srv/into/f"].data != "1\n" || all["/srv/as/name"].data != "1\n" ||
		all["/srv/dir/d/l"].Linkname != "f" || all["/srv/dir/d/e"].Mode != 0o700 {
		t.Errorf("copied: %v", all)
	}
}
