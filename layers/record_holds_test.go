package layers

import (
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestHoldsTellsWhatIsInALayer(t *testing.T) {
	t.Parallel()
	d := func(s string) digest.Digest { return digest.FromString(s) }
	artifact := func(s string) string { return "1.0 " + d(s).String() + " " + s }
	for what, c := range map[string]struct {
		layer LayerRecord
		want  Holds
	}{
		"base": {LayerRecord{Name: "base", Layer: "base"}, Holds{Kind: HoldsBase}},
		"wheels": {LayerRecord{Name: "pip-1", Layer: "ray", Values: map[string]string{byteCodeInput: "python 3.11",
			"wheel a": artifact("a"), "wheel b 1": artifact("b")}}, Holds{Kind: HoldsWheels,
			Artifacts: []digest.Digest{min(d("a"), d("b")), max(d("a"), d("b"))}}},
		"added": {LayerRecord{Name: "add-1", Layer: "add-1", Values: map[string]string{byteCodeInput: "python 3.11"}},
			Holds{Kind: HoldsWheels}},
		"source": {LayerRecord{Name: "x", Layer: "ray", Values: map[string]string{"sdist x": artifact("x"),
			"wheel setuptools": artifact("s"), "deb gcc": artifact("g")}}, Holds{Kind: HoldsPackages,
			Artifacts: []digest.Digest{d("x")}}},
		"env":      {LayerRecord{Name: "env", Layer: "env"}, Holds{Kind: HoldsPackages}},
		"activate": {LayerRecord{Name: "activate", Layer: "env"}, Holds{Kind: HoldsConfig}},
		"mirrors": {LayerRecord{Name: "originals", Layer: "mirrors",
			Values: map[string]string{"file /etc/pip.conf": "x"}}, Holds{Kind: HoldsConfig}},
		"step": {LayerRecord{Name: "note", Layer: "note"}, Holds{Kind: HoldsStep}},
		"files": {LayerRecord{Name: "files-2", Layer: "files", Values: map[string]string{"files.to": "/app",
			"file src/a b.py": "644 0:0 " + d("a").String(), "link src/l": "a", "file bad": "644 0:0 x"}},
			Holds{Kind: HoldsFiles, Files: map[string]digest.Digest{"src/a b.py": d("a")}}},
		"many files": {LayerRecord{Name: "files", Layer: "files", Values: map[string]string{
			"files of src": d("all").String()}},
			Holds{Kind: HoldsFiles, Files: map[string]digest.Digest{"src": d("all")}}},
		"forged": {LayerRecord{Name: "apt", Layer: "apt",
			Values: map[string]string{"deb a": "1 sha256:x y", "deb b": ""}}, Holds{Kind: HoldsPackages}},
	} {
		got := c.layer.Holds()
		if len(got.Artifacts) == 0 {
			got.Artifacts = nil
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}
