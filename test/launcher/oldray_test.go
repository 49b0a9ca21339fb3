package launcher

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/cluster"
)

// TestOldestRayOnTwoHosts runs the world's stand-in as Ray 0.8.6, which has no token, no state API
// and no jobs API: the launcher asks it for its nodes, and runs a job, in the head's container.
func TestOldestRayOnTwoHosts(t *testing.T) {
	b := needBed(t)
	image := b.worldAs(t, "0.8.6")
	b.Clean(t, "old")
	spec := b.Spec(t, "old", image, "accept_no_auth: true\n", 2)
	s, err := cluster.Up(t.Context(), spec, b.Options(t))
	if err != nil || !s.Healthy || s.Alive != 2 || s.Ray != "0.8.6" {
		t.Fatalf("%v\n%s", err, s)
	}
	if s, err = cluster.Up(t.Context(), spec, b.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("again: %v\n%s", err, s)
	}
	dir := t.TempDir()
	for file, text := range map[string]string{
		"job.py": "import os, sys, ray, helper\nray.init()\n" +
			"print('helper says', helper.word, os.environ['WHO'], sum(n['Alive'] for n in ray.nodes()), 'nodes')\n" +
			"sys.exit(3)\n",
		"helper.py": "word = 'hello'\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	job := cluster.Job{Argv: []string{"python", "job.py"}, Dir: dir, Env: map[string]string{"WHO": "world"}}
	res, err := cluster.Submit(t.Context(), spec, job, &out, io.Discard, b.Options(t))
	if err != nil || res.ExitCode != 3 || res.By != "exec" ||
		!strings.Contains(out.String(), "helper says hello world 2 nodes") {
		t.Errorf("submit: %+v, %v\n%s", res, err, out.String())
	}
	if left := b.Must(t, "exec", "1", "docker", "exec", "old-head", "ls", "/tmp"); strings.Contains(left,
		"raybuild-job") {
		t.Errorf("the job's files are left in the head: %s", left)
	}
	job.Detach = true
	if _, err := cluster.Submit(t.Context(), spec, job, io.Discard, io.Discard, b.Options(t)); err == nil ||
		!strings.Contains(err.Error(), "no jobs API") {
		t.Errorf("a job that is to go on by itself: %v", err)
	}
	r, err := cluster.Bench(t.Context(), spec, 6, 0.3, b.Options(t))
	if err != nil || len(r.Nodes) != 2 {
		t.Errorf("bench: %+v, %v", r, err)
	}
}

// worldAs pushes the offline world's image with its stand-in as another version of Ray, and gives its pinned name.
func (b *bed) worldAs(t *testing.T, version string) string {
	t.Helper()
	img := must(remote.Image(must(name.ParseReference(b.rayImage(t), name.Insecure))))
	const at = "opt/conda/envs/ray/lib/python3.11/site-packages/ray/"
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	// the second removes what was compiled
	for file, text := range map[string]string{"_version.py": "version = \"" + version + "\"\n",
		"__pycache__/.wh._version.cpython-311.pyc": ""} {
		if err := w.WriteHeader(&tar.Header{Name: at + file, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer := must(tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}))
	img = must(mutate.AppendLayers(img, layer))
	cfg := must(img.ConfigFile()).DeepCopy()
	cfg.Config.Labels["dev.raybuild.ray"] = version
	img = must(mutate.ConfigFile(img, cfg))
	if err := remote.Write(must(name.ParseReference(b.Registry+"/ray:as-"+version, name.Insecure)), img); err != nil {
		t.Fatal(err)
	}
	return b.Registry + "/ray@" + must(img.Digest()).String()
}
