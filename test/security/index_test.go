package security

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild"
)

// An index of several platforms is up to date if all of it is the graph's, and not if it names one image more or
// another one.
func TestH4IndexIsCompared(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	lock, err := os.ReadFile(filepath.Join(v.Dir, "raybuild.lock"))
	if err != nil {
		t.Fatal(err)
	}
	_, amd64, _ := strings.Cut(string(lock), "platforms:\n")
	v.Write("raybuild.lock", string(lock)+strings.Replace(amd64, "linux/amd64", "linux/arm64", 1))
	v.platforms = []string{"linux/amd64", "linux/arm64"}
	honest, _ := v.build(raybuild.BuildOptions{})
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 || res.Digest != honest.Digest {
		t.Errorf("the same again ran %q: %+v, %v", ran, res, v.events)
	}
	found, err := remote.Get(parse(t, v.Ref("ray:1")), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for what, forge := range map[string]func(index *ocispecs.Index){
		"a further image": func(index *ocispecs.Index) {
			more := index.Manifests[0]
			more.Platform = &ocispecs.Platform{OS: "linux", Architecture: "s390x"}
			index.Manifests = append(index.Manifests, more)
		},
		"an image that is not shown": func(index *ocispecs.Index) {
			more := index.Manifests[0]
			more.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
			index.Manifests = append(index.Manifests, more)
		},
		"another image": func(index *ocispecs.Index) {
			i := v.read(v.Ref("ray@" + index.Manifests[1].Digest.String()))
			i.config.Config.User = "0"
			m := v.put(i, v.Ref("ray:evil"))
			index.Manifests[1].Digest, index.Manifests[1].Size = digest.FromBytes(m.data), int64(len(m.data))
		},
	} {
		var index ocispecs.Index
		if err := json.Unmarshal(found.Manifest, &index); err != nil {
			t.Fatal(err)
		}
		forge(&index)
		data, err := json.MarshalIndent(index, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		i := &image{manifest: ocispecs.Manifest{Annotations: index.Annotations}}
		v.tag(stored{data, ocispecs.MediaTypeImageIndex}, v.Ref("ray:1"), v.graphTag("ray", i))
		res, _ := v.build(raybuild.BuildOptions{})
		if res.UpToDate || res.Found != nil || res.Digest != honest.Digest {
			t.Errorf("%s: up to date %v, found %+v, digest %s, want a new %s", what, res.UpToDate, res.Found,
				res.Digest, honest.Digest)
		}
	}
}
