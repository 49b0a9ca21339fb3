package wheel

import (
	"bytes"
	"path"
	"strings"
	"testing"
)

// FuzzDistInfo: whatever a wheel's RECORD, WHEEL and entry_points.txt say, no file of its layer is outside the
// environment, and the same texts give the same layer.
func FuzzDistInfo(f *testing.F) {
	f.Add("a/__init__.py,,\n", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n", "[console_scripts]\na = a:main\n")
	f.Add("\"a,b\",sha256=x,1\r\n../x,,\r", "Wheel-Version: 9\n", "[gui_scripts]\npip3 = a.b : c.d [x]\n[x]\ny\n")
	f.Add("", "", "[console_scripts]\n../a = a:b\neasy_install-3.7=a:b\n.=a:b\n")
	f.Fuzz(func(t *testing.T, record, about, commands string) {
		data := makeWheel(t, "a", func(rows string) string { return rows + record },
			file{name: "a/__init__.py", data: "x = 1\n"},
			file{name: "a-1.0.dist-info/entry_points.txt", data: commands},
			file{name: "a-1.0.data/data/share/about", data: about})
		first := layerOrNone(t, data)
		if first == nil {
			return
		}
		if again := layerOrNone(t, data); !bytes.Equal(first, again) {
			t.Fatal("one wheel gives two layers")
		}
	})
}

// layerOrNone is a wheel's layer; nil if it is refused.
func layerOrNone(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	l, err := w.Layer(t.Context(), target(), &out)
	if err != nil {
		return nil
	}
	for name := range readLayer(t, l, bytes.NewReader(out.Bytes())) {
		inside, prefix := path.Clean("/"+name)+"/", target().Prefix+"/"
		if !strings.HasPrefix(inside, prefix) && !strings.HasPrefix(prefix, inside) {
			t.Fatalf("%q lies outside of %s", name, prefix)
		}
	}
	return out.Bytes()
}
