package convert

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/wheel"
)

// writeFiles is a list of a layer's files that other layers may bring, too, each with its content's size and checksum.
// Conflicts between the layer's own wheels are in it as well.
func writeFiles(made *wheel.Layer) []byte {
	var out bytes.Buffer
	row := func(content, place string, wheels ...string) {
		// No name has a control character: a wheel with such a name is refused.
		fmt.Fprintf(&out, "%s\t%s\t%s\n", content, place, strings.Join(wheels, "\t"))
	}
	for _, c := range made.Conflicts {
		row(conflict, c.Path, c.First, c.Second)
	}
	for _, f := range made.Files {
		if f.Wheel != "" && !strings.Contains(f.Path, ".dist-info/") {
			row(fmt.Sprintf("%08x %d", f.CRC, f.Size), f.Path, f.Wheel)
		}
	}
	return out.Bytes()
}

// conflict is what a row of a conflict has in place of the content.
const conflict = "conflict"

// Conflicts are the files that several wheels of an image bring with different content, sorted by path. The keys are
// those of the image's layers in their order: the file of the last one stays. Layers that were not made here are left
// out.
func (c *Converter) Conflicts(keys []digest.Digest) []wheel.Conflict {
	type brought struct{ content, wheel string }
	var out []wheel.Conflict
	seen := map[string]brought{}
	for _, key := range keys {
		data, err := os.ReadFile(c.store.filesFile(key))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(row) < 3 {
				continue // of a file that was damaged
			}
			place := row[1]
			first, again := seen[place]
			switch {
			case row[0] == conflict && len(row) == 4:
				out = append(out, wheel.Conflict{Path: place, First: row[2], Second: row[3]})
			case again && first.content != row[0]:
				out = append(out, wheel.Conflict{Path: place, First: first.wheel, Second: row[2]})
				fallthrough
			default:
				seen[place] = brought{row[0], row[2]}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b wheel.Conflict) int { return strings.Compare(a.Path, b.Path) })
	return out
}
