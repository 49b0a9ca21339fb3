package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestOpenLocal(t *testing.T) {
	t.Parallel()
	data := noise(9, 200<<10)
	d := digest.FromBytes(data)
	path := filepath.Join(t.TempDir(), "ray.whl")
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := append([]byte(nil), data...)
	bad[5] ^= 1
	r := newRig(t, fast(t))
	tests := []struct {
		name string
		item Item
		file []byte
		want string
	}{
		{"from memory", Item{Digest: d, Bytes: data}, nil, ""},
		{"from wrong memory", Item{Digest: d, Bytes: bad}, nil, "wrong bytes"},
		{"from a file", Item{Digest: d, Path: path}, data, ""},
		{"from a changed file", Item{Digest: d, Path: path}, bad, "wrong bytes"},
		{"from an emptied file", Item{Digest: d, Path: path}, []byte{}, "wrong bytes"},
		{"from a directory", Item{Digest: d, Path: filepath.Dir(path)}, nil, "not a regular file"},
		{"empty, from memory", Item{Digest: digest.FromString(""), Bytes: []byte{}}, nil, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if tc.file != nil {
				write(tc.file)
			}
			r.Add(tc.item)
			b, err := r.read(t, tc.item.Digest)
			if tc.want == "" {
				if err != nil || digest.FromBytes(b) != tc.item.Digest {
					t.Errorf("%d bytes, %v", len(b), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if len(b) >= len(data) {
				t.Error("all the wrong bytes were handed out")
			}
		})
	}
}
